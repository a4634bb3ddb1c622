"""What every backbone is: blocks, applied to whole meta-batches, with batch statistics for each task alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from datg.backbones.batch_norm import RUNNING, BatchNorm, NormMode, Then, batch_norm, by_runs
from datg.runtime.precision import Precision, autocast
from datg.runtime.random_streams import Noise, to_device_async

Affine = nn.Conv2d | nn.Linear


@dataclass(frozen=True, kw_only=True)
class BackboneOptions(ABC):
    """Hold the hyperparameters of a backbone: a frozen dataclass, checked by its annotations.

    Attributes:
        name: of the backbone, in its table and in configurations.
    """

    name: ClassVar[str]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    @abstractmethod
    def channels(self) -> int:
        """Return channels, or units, of every hidden layer."""


class PreNormActivations(NamedTuple):
    """Hold what the first block makes of examples one by one, whatever they will be normalised with.

    Attributes:
        values: `(n, *shape)`; what is still missing is a scale and a shift of each channel, and the activation.
        mean: `(n, channels)` of the pre-activations of each example, float32.
        variance: likewise.
    """

    values: Tensor
    mean: Tensor
    variance: Tensor

    def rows(self, index: Tensor) -> "PreNormActivations":
        """Return those of the examples at ``index`` `(m,)`."""
        return PreNormActivations(*(part[index] for part in self))

    def statistics(self, runs: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each run, `(len(runs), channels)`: variances add within and between examples."""
        means = [part.mean(0) for part in self.mean.split(runs)]
        variances = [
            within.mean(0) + between.var(0, correction=0)
            for within, between in zip(self.variance.split(runs), self.mean.split(runs), strict=True)
        ]
        return torch.stack(means), torch.stack(variances)


class Block(nn.Module, ABC):
    """Compute one layer of a backbone: an affine map, then normalisation and everything else.

    Attributes:
        affine: the convolution or linear map.
        norm: what follows it.
        compiled: whether it is normalised by kernels that `torch.compile` makes; for GPUs.
    """

    affine: Affine
    norm: BatchNorm
    compiled: bool = False

    def forward(self, inputs: Tensor, mode: NormMode) -> Tensor:
        """Apply the block to `(n, *shape)` examples, normalised by ``mode``."""
        return self.activate(self.affine(inputs), mode)

    def normalise(self, preactivations: Tensor, mode: NormMode, then: Then) -> Tensor:
        """See :func:`batch_norm`."""
        return batch_norm(preactivations, self.norm, mode, then, compiled=self.compiled)

    @abstractmethod
    def activate(self, preactivations: Tensor, mode: NormMode) -> Tensor:
        """Apply what follows the affine map to its `(n, channels, ...)` output, normalised by ``mode``."""

    @staticmethod
    @abstractmethod
    def places(inputs: Tensor) -> int:
        """Return at how many places of each of `(n, *shape)` examples the affine map is applied: the pixels of a picture."""

    @abstractmethod
    def precompute(self, inputs: Tensor) -> PreNormActivations:
        """Compute, once per `(n, *shape)` example, the part of the block that does not depend on the normalisation batch."""

    def apply_norm(self, precomputed: PreNormActivations, rows: Tensor, runs: tuple[int, ...]) -> Tensor:
        """Return `(n, *shape)` as :meth:`forward` would make it in evaluation of examples that stand at ``rows`` `(n,)`.

        Args:
            precomputed: of all examples.
            rows: int64.
            runs: lengths that add up to n.
        """
        chosen = precomputed.rows(rows)
        scale, shift = scale_and_shift(self.norm.weight, self.norm.bias, self.norm.eps, *chosen.statistics(runs))
        owner = to_device_async(owners(runs), scale.device)
        shape = (-1, scale.shape[1], *[1] * (chosen.values.ndim - 2))
        scale, shift = (part[owner].view(shape).to(chosen.values.dtype) for part in (scale, shift))
        return torch.addcmul(shift, chosen.values, scale).relu_()


def scale_and_shift(weight: Tensor, bias: Tensor, eps: float, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return what normalisation multiplies by and adds, `(runs, channels)` each, from statistics of that shape."""
    scale = weight * torch.rsqrt(variance + eps)
    return scale, bias - mean * scale


def owners(runs: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the `(n,)` run that each example belongs to."""
    return np.repeat(np.arange(len(runs)), runs)


class Dropout(Noise):
    """Set a share of the values to zero in training, and scale the rest up."""

    def __init__(self, share: float) -> None:
        """Drop a ``share`` in [0, 1) of the values."""
        super().__init__()
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """Return same shape; the inputs themselves in evaluation."""
        if not self.training or self.share == 0:
            return inputs
        return inputs * (self.uniform(inputs) >= self.share) / (1 - self.share)


class Backbone(nn.Module, ABC):
    """Apply a list of blocks.

    Attributes:
        options: the class of this backbone's hyperparameters.
        depth: L, known before anything is built.
        blocks: the L blocks.
        precision: in which it computes; under bf16 its outputs are bf16, too.
    """

    options: ClassVar[type[BackboneOptions]]
    depth: ClassVar[int]
    blocks: nn.ModuleList
    precision: Precision = "float32"

    def compile_blocks(self) -> None:
        """Have the blocks normalise by kernels that `torch.compile` makes, half a minute at the first use."""
        for block in self.blocks:
            block.compiled = True  # type: ignore[assignment]

    @abstractmethod
    def __init__(
        self, shape: tuple[int, ...], options: Any, *, running_statistics: bool, generator: torch.Generator
    ) -> None:
        """Build the blocks for examples of ``shape``; the normalisation keeps running statistics or not."""
        super().__init__()

    @staticmethod
    @abstractmethod
    def check_shape(shape: tuple[int, ...]) -> None:
        """Raise ConfigError if examples of ``shape`` cannot be fed to this backbone."""

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """Return the length of a flattened output of the last block."""

    def forward(
        self,
        examples: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        sets: tuple[int, ...] | None = None,
        running: bool = False,
    ) -> Tensor:
        """Pass examples from layer ``start`` to layer ``stop`` (the last one by default).

        Args:
            examples: `(B, N, M, *shape)` at layer ``start``.
            start: the layer that ``examples`` come from.
            stop: the layer wanted.
            sets: how the third axis is cut into the normalisation batches of a task; it is one batch by default.
            running: normalise by running statistics (which need not know about tasks) instead.

        Returns:
            `(B, N, M, *shape)` at layer ``stop``.
        """
        return pass_blocks(self.blocks[start:stop], examples, sets=sets, running=running, precision=self.precision)

    def statistics_by_block(self, examples: Tensor, sets: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Pass `(B, N, M, *shape)` examples from the input to the last layer, as :meth:`forward` does in evaluation.

        Yields:
            What each block normalises: mean and variance of every example, `(B * N * M, channels)` each, and of how many values.
        """
        flat, runs = with_channels_last(flatten_tasks(examples)), runs_of(examples, sets)
        rows = torch.arange(len(flat), device=flat.device)
        for block in self.blocks:
            places = block.places(flat)  # type: ignore[operator]
            with autocast(self.precision, flat.device):
                precomputed: PreNormActivations = block.precompute(flat)  # type: ignore[operator]
                flat = block.apply_norm(precomputed, rows, runs)  # type: ignore[operator]
            yield precomputed.mean, precomputed.variance, places

    def precompute(self, examples: Tensor) -> PreNormActivations:
        """Return what the first block makes of `(n, *shape)` examples one by one, for :meth:`apply_norm`."""
        first: Block = self.blocks[0]  # type: ignore[assignment]
        with autocast(self.precision, examples.device):
            return first.precompute(with_channels_last(examples))

    def apply_norm(self, precomputed: PreNormActivations, rows: Tensor, stop: int, *, sets: tuple[int, ...]) -> Tensor:
        """Pass the `(B, N, M)` rows of ``precomputed`` to layer ``stop``, as :meth:`forward` does in evaluation."""
        tasks, ways, _ = rows.shape
        first: Block = self.blocks[0]  # type: ignore[assignment]
        flat = first.apply_norm(precomputed, flatten_tasks(rows), runs_of(rows, sets))
        return self(unflatten_tasks(flat, tasks, ways), 1, stop, sets=sets)


def pass_blocks(
    blocks: Iterable[Callable[[Tensor, NormMode], Tensor]],
    examples: Tensor,
    *,
    sets: tuple[int, ...] | None = None,
    running: bool = False,
    precision: Precision = "float32",
) -> Tensor:
    """Pass `(B, N, M, *shape)` examples through blocks; see :meth:`Backbone.forward`."""
    tasks, ways = examples.shape[:2]
    mode = RUNNING if running else by_runs(*runs_of(examples, sets))
    flat = with_channels_last(flatten_tasks(examples))
    with autocast(precision, flat.device):
        for block in blocks:
            flat = block(flat, mode)
    return unflatten_tasks(flat, tasks, ways)


def with_channels_last(examples: Tensor) -> Tensor:
    """Return `(n, *shape)` examples as they are; pictures get channels-last memory, with which convolutions are fastest."""
    return examples.contiguous(memory_format=torch.channels_last) if examples.ndim == 4 else examples


def runs_of(examples: Tensor, sets: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the normalisation batches of flattened `(B, N, M, ...)` examples; ``sets`` as in :meth:`Backbone.forward`."""
    tasks, ways, number = examples.shape[:3]
    return tuple(ways * size for size in sets or (number,)) * tasks


def flatten_tasks(examples: Tensor) -> Tensor:
    """Flatten `(B, N, M, *shape)` to `(B * M * N, *shape)`: the m-th examples of all classes stand together.

    So the support set of a task is one run, and its query set another.

    No copy where the memory is in this order already, as of all that passed a backbone or was gathered as tasks.
    """
    return examples.transpose(1, 2).flatten(0, 2)


def unflatten_tasks(flat: Tensor, tasks: int, ways: int) -> Tensor:
    """Turn `(B * M * N, *shape)` back into the `(B, N, M, *shape)` that :func:`flatten_tasks` was given."""
    return flat.unflatten(0, (tasks, -1, ways)).transpose(1, 2)


def initialise(layer: Affine, *, generator: torch.Generator) -> None:
    """Initialise as PyTorch does by default, uniform within 1 / sqrt(fan-in), from a given generator."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.uniform_(-bound, bound, generator=generator)
