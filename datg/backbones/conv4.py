"""conv4: four blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 max-pooling (Finn et al. 2017; paper 5.2).

84 x 84 pictures become 5 x 5 x filters, 42 x 42 become 2 x 2, 28 x 28 become 1 x 1.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from datg.backbones.backbone import (
    Backbone,
    BackboneOptions,
    Block,
    PreNormActivations,
    initialise,
    owners,
    scale_and_shift,
)
from datg.backbones.batch_norm import WHOLE, NormMode
from datg.backbones.pooled_norm import pool, pooled_norm, rectify, suits
from datg.errors import ConfigError

SMALLEST_SIDE = 16  # four poolings leave one pixel


@dataclass(frozen=True, kw_only=True)
class Conv4Options(BackboneOptions):
    """Hold what conv4 can be told.

    Attributes:
        filters: channels of every block.
    """

    name: ClassVar[str] = "conv4"

    filters: Annotated[int, Field(ge=1)] = 32

    @property
    def channels(self) -> int:
        """Return the filters."""
        return self.filters


class ConvBlock(Block):
    """Map `(n, channels, height, width)` to `(n, filters, height // 2, width // 2)`."""

    def __init__(self, channels: int, filters: int, *, running_statistics: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.affine = nn.utils.skip_init(nn.Conv2d, channels, filters, 3, padding=1)
        self.norm = nn.BatchNorm2d(filters, track_running_stats=running_statistics)
        initialise(self.affine, generator=generator)

    def forward(self, inputs: Tensor, mode: NormMode) -> Tensor:
        """See :meth:`Block.forward`."""
        if not self._in_two_passes(inputs, mode):
            return super().forward(inputs, mode)
        weight, bias = self.affine.weight, self.affine.bias
        assert bias is not None
        preactivations = functional.conv2d(inputs, weight, bias.detach(), padding=1)
        return pooled_norm(preactivations, self.norm, mode.runs, added=bias)

    def _in_two_passes(self, values: Tensor, mode: NormMode) -> bool:
        return mode.kind == "runs" and suits(values) and not self.compiled

    def activate(self, preactivations: Tensor, mode: NormMode) -> Tensor:
        """See :meth:`Block.activate`."""
        if self._in_two_passes(preactivations, mode):
            return pooled_norm(preactivations, self.norm, mode.runs)
        return self.normalise(preactivations, mode, _plain_pool_and_relu if mode == WHOLE else _pool_and_relu)

    @staticmethod
    def places(inputs: Tensor) -> int:
        """See :meth:`Block.places`."""
        return inputs.shape[2:].numel()

    def precompute(self, inputs: Tensor) -> PreNormActivations:
        """Pool already, as what follows is monotone in each channel, falling where its weight is."""
        preactivations = self.affine(inputs)
        if suits(preactivations):
            return pool(preactivations, self.norm.weight)[0]
        variance, mean = torch.var_mean(preactivations.float(), (2, 3), correction=0)
        falling = (self.norm.weight < 0).view(-1, 1, 1)
        values = functional.max_pool2d(torch.where(falling, -preactivations, preactivations), 2)
        return PreNormActivations(torch.where(falling, -values, values), mean, variance)

    def apply_norm(self, precomputed: PreNormActivations, rows: Tensor, runs: tuple[int, ...]) -> Tensor:
        """See :meth:`Block.apply_norm`."""
        if not suits(precomputed.values):
            return super().apply_norm(precomputed, rows, runs)
        statistics = PreNormActivations(rows, precomputed.mean[rows], precomputed.variance[rows]).statistics(runs)
        scale, shift = scale_and_shift(self.norm.weight, self.norm.bias, self.norm.eps, *statistics)
        return rectify(precomputed.values, rows, torch.from_numpy(owners(runs)), scale, shift)


def _pool_and_relu(inputs: Tensor) -> Tensor:
    """Return `(n, channels, height // 2, width // 2)`; the two commute, and pooled first there is less to do."""
    return functional.relu(functional.max_pool2d(inputs, 2))


def _plain_pool_and_relu(inputs: Tensor) -> Tensor:
    return functional.relu(_plain_max_pool(inputs, 2))


def _plain_max_pool(inputs: Tensor, size: int) -> Tensor:
    """Pool `(..., height, width)` by twos, as max(a, b) = a + relu(b - a), for MAML's inner loop.

    There pictures are few pixels wide and have their channels first, with which the library's kernel takes seven times as long.
    """
    assert size == 2
    height, width = inputs.shape[-2] // 2, inputs.shape[-1] // 2
    if inputs.shape[-2:] != (2 * height, 2 * width):
        inputs = inputs[..., : 2 * height, : 2 * width]
    left, right = inputs.unflatten(-1, (width, 2)).unbind(-1)
    upper, lower = (left + functional.relu(right - left)).unflatten(-2, (height, 2)).unbind(-2)
    return upper + functional.relu(lower - upper)


class Conv4(Backbone):
    """Stack four :class:`ConvBlock`, for square or other pictures of at least 16 x 16."""

    options: ClassVar[type[BackboneOptions]] = Conv4Options
    depth: ClassVar[int] = 4

    def __init__(
        self, shape: tuple[int, ...], options: Conv4Options, *, running_statistics: bool, generator: torch.Generator
    ) -> None:
        """Build the blocks for examples of ``shape`` `(channels, height, width)`."""
        super().__init__(shape, options, running_statistics=running_statistics, generator=generator)
        self.check_shape(shape)
        channels, height, width = shape
        filters = options.filters
        self.blocks = nn.ModuleList(
            ConvBlock(width_in, filters, running_statistics=running_statistics, generator=generator)
            for width_in in (channels, filters, filters, filters)
        )
        self._embedding_size = filters * (height // 16) * (width // 16)

    @staticmethod
    def check_shape(shape: tuple[int, ...]) -> None:
        """Raise ConfigError unless ``shape`` is `(channels, height, width)` of at least 16 x 16."""
        if len(shape) != 3 or min(shape[1:]) < SMALLEST_SIDE:
            raise ConfigError(
                f"backbone conv4 needs pictures of at least {SMALLEST_SIDE} x {SMALLEST_SIDE}, got examples of shape {shape}; "
                "name another backbone with --set backbone.name=NAME."
            )

    @property
    def embedding_size(self) -> int:
        """Return filters x the pixels that four poolings leave."""
        return self._embedding_size
