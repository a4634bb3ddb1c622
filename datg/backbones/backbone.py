"""What every backbone is: blocks, applied to whole meta-batches, with batch statistics for each task alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from datg.seeding import Noise

Affine = nn.Conv2d | nn.Linear


@dataclass(frozen=True, kw_only=True)
class BackboneOptions(ABC):
    """The hyperparameters of a backbone: a frozen dataclass, checked by its annotations."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels, or units, of every hidden layer."""


class Block(nn.Module, ABC):
    """One layer of a backbone: an affine map, then normalisation and everything else.

    Attributes:
        affine: the convolution or linear map.
    """

    affine: Affine

    def forward(self, inputs: Tensor, groups: int | None = 1) -> Tensor:
        """Applies the block.

        Args:
            inputs: `(groups * m, *shape)` examples.
            groups: how many equal, consecutive runs of examples are normalised by their own batch statistics;
                None normalises by the running statistics.
        """
        return self.activate(self.affine(inputs), groups)

    @abstractmethod
    def activate(self, preactivations: Tensor, groups: int | None) -> Tensor:
        """What follows the affine map; ``groups`` as in :meth:`forward`."""


class Dropout(Noise):
    """Sets a share of the values to zero in training, and scales the rest up."""

    def __init__(self, share: float) -> None:
        """``share`` is in [0, 1)."""
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """Same shape; the inputs themselves in evaluation."""
        if not self.training or self.share == 0:
            return inputs
        return inputs * (self.uniform(inputs) >= self.share) / (1 - self.share)


class Backbone(nn.Module, ABC):
    """A list of blocks.

    Attributes:
        options: the class of this backbone's hyperparameters.
        depth: L, known before anything is built.
        blocks: the L blocks.
    """

    options: ClassVar[type[BackboneOptions]]
    depth: ClassVar[int]
    blocks: nn.ModuleList

    @abstractmethod
    def __init__(
        self, shape: tuple[int, ...], options: Any, *, running_statistics: bool, generator: torch.Generator
    ) -> None:
        """Builds the blocks for examples of ``shape``; the normalisation keeps running statistics or not."""
        super().__init__()

    @staticmethod
    @abstractmethod
    def check_shape(shape: tuple[int, ...]) -> None:
        """Raises ConfigError if examples of ``shape`` cannot be fed to this backbone."""

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """The length of a flattened output of the last block."""

    def forward(self, examples: Tensor, start: int = 0, stop: int | None = None, *, running: bool = False) -> Tensor:
        """Passes examples from layer ``start`` to layer ``stop`` (the last one by default).

        Args:
            examples: `(B, N, M, *shape)` at layer ``start``; the N * M examples of a task are one normalisation batch.
            start: the layer that ``examples`` come from.
            stop: the layer wanted.
            running: normalise by running statistics (which need not know about tasks) instead.

        Returns:
            `(B, N, M, *shape)` at layer ``stop``.
        """
        return pass_blocks(self.blocks[start:stop], examples, running=running)


def pass_blocks(
    blocks: Iterable[Callable[[Tensor, int | None], Tensor]], examples: Tensor, *, running: bool = False
) -> Tensor:
    """Passes `(B, N, M, *shape)` examples through blocks; see :meth:`Backbone.forward`."""
    leading = examples.shape[:3]
    flat = examples.flatten(0, 2)
    if flat.ndim == 4:  # pictures: convolutions are fastest with channels last in memory
        flat = flat.contiguous(memory_format=torch.channels_last)
    for block in blocks:
        flat = block(flat, None if running else leading[0])
    return flat.unflatten(0, leading)


def batch_norm(inputs: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d, groups: int | None) -> list[Tensor]:
    """Batch normalisation of each group alone, as a list of groups `(m, channels, ...)`.

    The loop is over normalisation batches and over nothing else: on CPUs it is 1.4 to 1.8 times as fast as the one-call
    forms (one `batch_norm` over groups * channels, `group_norm` on a view, `var_mean` by hand), which lose channels-last
    memory or cache locality. Running statistics, where the layer keeps them, are updated group by group.
    """
    if groups is None:
        mean, variance, training = norm.running_mean, norm.running_var, False
        assert mean is not None, "this layer keeps no running statistics"
        groups = 1
    elif groups == 1 and not norm.track_running_stats:
        return [_plain_batch_norm(inputs, norm)]
    else:
        training = True
        update = norm.training and norm.track_running_stats
        mean, variance = (norm.running_mean, norm.running_var) if update else (None, None)
    momentum = norm.momentum if norm.momentum is not None else 0.1
    return [
        functional.batch_norm(group, mean, variance, norm.weight, norm.bias, training, momentum, norm.eps)
        for group in inputs.chunk(groups)
    ]


def _plain_batch_norm(inputs: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    """Batch normalisation written out, for MAML's inner loop.

    The library's function has a wrong second derivative under `torch.func.vmap` (torch 2.13: values and first derivatives
    are right, tests/learners/test_maml.py shows the rest).
    """
    dimensions = [0, *range(2, inputs.ndim)]
    variance, mean = torch.var_mean(inputs, dimensions, correction=0, keepdim=True)
    shape = (-1, *[1] * (inputs.ndim - 2))
    normalised = (inputs - mean) * torch.rsqrt(variance + norm.eps)
    return normalised * norm.weight.view(shape) + norm.bias.view(shape)


def initialise(layer: Affine, *, generator: torch.Generator) -> None:
    """PyTorch's own default initialisation (uniform within 1 / sqrt(fan-in)), from a given generator."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.uniform_(-bound, bound, generator=generator)
