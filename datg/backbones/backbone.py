"""What every backbone is: blocks, applied to whole meta-batches, with batch statistics for each task alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from datg.precision import Precision, autocast
from datg.seeding import Noise

Affine = nn.Conv2d | nn.Linear

# How a block normalises: by the batch statistics of consecutive runs of examples, given by their lengths, or (None) by the
# running statistics. ALONE is one run of all examples, written out so that it can be differentiated twice under vmap.
Runs = tuple[int, ...] | None
ALONE: Runs = ()


@dataclass(frozen=True, kw_only=True)
class BackboneOptions(ABC):
    """The hyperparameters of a backbone: a frozen dataclass, checked by its annotations."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels, or units, of every hidden layer."""


class Begun(NamedTuple):
    """What the first block makes of examples one by one, whatever they will be normalised with.

    Attributes:
        values: `(n, *shape)`; what is still missing is a scale and a shift of each channel, and the activation.
        mean: `(n, channels)` of the pre-activations of each example, float32.
        variance: likewise.
    """

    values: Tensor
    mean: Tensor
    variance: Tensor

    def rows(self, index: Tensor) -> "Begun":
        """Of some examples."""
        return Begun(*(part[index] for part in self))

    def statistics(self, runs: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Mean and variance of each run, `(len(runs), channels)`: variances add within and between examples."""
        means = [part.mean(0) for part in self.mean.split(runs)]
        variances = [
            within.mean(0) + between.var(0, correction=0)
            for within, between in zip(self.variance.split(runs), self.mean.split(runs), strict=True)
        ]
        return torch.stack(means), torch.stack(variances)


class Block(nn.Module, ABC):
    """One layer of a backbone: an affine map, then normalisation and everything else.

    Attributes:
        affine: the convolution or linear map.
        norm: what follows it.
    """

    affine: Affine
    norm: nn.BatchNorm1d | nn.BatchNorm2d

    def forward(self, inputs: Tensor, runs: Runs) -> Tensor:
        """Applies the block to `(n, *shape)` examples, normalised by ``runs`` (:data:`Runs`)."""
        return self.activate(self.affine(inputs), runs)

    @abstractmethod
    def activate(self, preactivations: Tensor, runs: Runs) -> Tensor:
        """What follows the affine map; ``runs`` as in :meth:`forward`."""

    @abstractmethod
    def begin(self, inputs: Tensor) -> Begun:
        """What is known of `(n, *shape)` examples before it is known what they are normalised with; for evaluation."""

    def finish(self, begun: Begun, runs: tuple[int, ...]) -> Tensor:
        """What :meth:`forward` would make of them in evaluation."""
        mean, variance = begun.statistics(runs)
        scale = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
        shift = self.norm.bias - mean * scale
        lengths = torch.tensor(runs, device=mean.device)
        shape = (-1, mean.shape[1], *[1] * (begun.values.ndim - 2))
        scale, shift = (
            part.repeat_interleave(lengths, 0).view(shape).to(begun.values.dtype) for part in (scale, shift)
        )
        return torch.addcmul(shift, begun.values, scale).relu_()


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
        precision: in which it computes; under bf16 its outputs are bf16, too.
    """

    options: ClassVar[type[BackboneOptions]]
    depth: ClassVar[int]
    blocks: nn.ModuleList
    precision: Precision = "float32"

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

    def forward(
        self,
        examples: Tensor,
        start: int = 0,
        stop: int | None = None,
        *,
        sets: tuple[int, ...] | None = None,
        running: bool = False,
    ) -> Tensor:
        """Passes examples from layer ``start`` to layer ``stop`` (the last one by default).

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

    def begin(self, examples: Tensor) -> Begun:
        """What the first block makes of `(n, *shape)` examples one by one, for :meth:`finish`."""
        first: Block = self.blocks[0]  # type: ignore[assignment]
        with autocast(self.precision, examples.device):
            return first.begin(with_channels_last(examples))

    def finish(self, begun: Begun, rows: Tensor, stop: int, *, sets: tuple[int, ...]) -> Tensor:
        """As :meth:`forward` in evaluation from the input to layer ``stop``, of the `(B, N, M)` rows of ``begun``."""
        tasks, ways, _ = rows.shape
        first: Block = self.blocks[0]  # type: ignore[assignment]
        flat = first.finish(begun.rows(flatten_tasks(rows)), runs_of(rows, sets))
        return self(unflatten_tasks(flat, tasks, ways), 1, stop, sets=sets)


def pass_blocks(
    blocks: Iterable[Callable[[Tensor, Runs], Tensor]],
    examples: Tensor,
    *,
    sets: tuple[int, ...] | None = None,
    running: bool = False,
    precision: Precision = "float32",
) -> Tensor:
    """Passes `(B, N, M, *shape)` examples through blocks; see :meth:`Backbone.forward`."""
    tasks, ways = examples.shape[:2]
    runs = None if running else runs_of(examples, sets)
    flat = with_channels_last(flatten_tasks(examples))
    with autocast(precision, flat.device):
        for block in blocks:
            flat = block(flat, runs)
    return unflatten_tasks(flat, tasks, ways)


def with_channels_last(examples: Tensor) -> Tensor:
    """The same values; pictures have their channels last in memory, with which convolutions are fastest."""
    return examples.contiguous(memory_format=torch.channels_last) if examples.ndim == 4 else examples


def runs_of(examples: Tensor, sets: tuple[int, ...] | None) -> tuple[int, ...]:
    """The normalisation batches of flattened `(B, N, M, ...)` examples; ``sets`` as in :meth:`Backbone.forward`."""
    tasks, ways, number = examples.shape[:3]
    return tuple(ways * size for size in sets or (number,)) * tasks


def flatten_tasks(examples: Tensor) -> Tensor:
    """`(B, N, M, *shape)` to `(B * M * N, *shape)`: the m-th examples of all classes stand together, so that the support set of a
    task is one run, and its query set another.

    No copy where the memory is in this order already, as of all that passed a backbone or was gathered as tasks.
    """
    return examples.transpose(1, 2).flatten(0, 2)


def unflatten_tasks(flat: Tensor, tasks: int, ways: int) -> Tensor:
    """What :func:`flatten_tasks` was given."""
    return flat.unflatten(0, (tasks, -1, ways)).transpose(1, 2)


def batch_norm(inputs: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d, runs: Runs) -> list[Tensor]:
    """Batch normalisation of each run alone, as a list of runs `(m, channels, ...)`.

    On CPUs the loop over normalisation batches, and over nothing else, is 1.4 to 1.8 times as fast as the one-call forms (one
    `batch_norm` over tasks * channels, `group_norm` on a view, `var_mean` by hand), which lose channels-last memory or cache
    locality. On a GPU its many small kernels would be what costs: :func:`_batch_norm_at_once`. Running statistics, where the
    layer keeps them, are updated run by run.
    """
    if runs == ALONE:
        return [_plain_batch_norm(inputs, norm)]
    if runs is None:
        mean, variance, training = norm.running_mean, norm.running_var, False
        assert mean is not None, "this layer keeps no running statistics"
        runs = (len(inputs),)
    else:
        training = True
        update = norm.training and norm.track_running_stats
        mean, variance = (norm.running_mean, norm.running_var) if update else (None, None)
    if inputs.is_cuda and training:
        return [_batch_norm_at_once(inputs, norm, runs)]
    momentum = norm.momentum if norm.momentum is not None else 0.1
    return [
        functional.batch_norm(run, mean, variance, norm.weight, norm.bias, training, momentum, norm.eps)
        for run in inputs.split(runs)
    ]


def _batch_norm_at_once(inputs: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d, runs: tuple[int, ...]) -> Tensor:
    """Batch normalisation of all runs together, in a few kernels whatever their number, for GPUs.

    Runs repeat from task to task: those with the same place in a task are equally long and are normalised as one tensor
    `(tasks, m, channels, ...)`. Statistics are float32.
    """
    period = next(p for p in range(1, len(runs) + 1) if runs == runs[:p] * (len(runs) // p))
    tasks = len(runs) // period
    normalised, means, variances = [], [], []
    for part in inputs.unflatten(0, (tasks, -1)).split(runs[:period], dim=1):
        dimensions, shape = [1, *range(3, part.ndim)], (-1, *[1] * (part.ndim - 3))
        mean = part.mean(dimensions, keepdim=True, dtype=torch.promote_types(part.dtype, torch.float32))
        centred = part - mean
        variance = centred.square().mean(dimensions, keepdim=True)
        scale = torch.rsqrt(variance + norm.eps) * norm.weight.view(shape)
        normalised.append((centred * scale + norm.bias.view(shape)).to(inputs.dtype))
        count = part[0, :, 0].numel()
        means.append(mean.detach().view(tasks, -1))
        variances.append(variance.detach().view(tasks, -1) * (count / max(1, count - 1)))
    if norm.training and norm.track_running_stats:
        _move(norm.running_mean, torch.stack(means, 1).flatten(0, 1), norm)
        _move(norm.running_var, torch.stack(variances, 1).flatten(0, 1), norm)
    return (normalised[0] if period == 1 else torch.cat(normalised, dim=1)).flatten(0, 1)


def _move(running: Tensor | None, found: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Moves a running statistic by the `(runs, channels)` ones of runs, one after the other."""
    assert running is not None and norm.momentum is not None
    keep = 1 - norm.momentum
    ages = torch.arange(len(found) - 1, -1, -1, device=found.device)
    running.mul_(keep ** len(found)).add_((norm.momentum * keep**ages).to(found.dtype) @ found)


def _plain_batch_norm(inputs: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    """Batch normalisation written out, for MAML's inner loop.

    The library's function has a wrong second derivative under `torch.func.vmap` (torch 2.13: values and first derivatives
    are right, tests/learners/test_maml.py shows the rest).
    """
    dimensions = [0, *range(2, inputs.ndim)]
    centred = inputs - inputs.mean(dimensions, keepdim=True)  # `var_mean` is slower by half on CPUs
    variance = centred.square().mean(dimensions, keepdim=True)
    shape = (-1, *[1] * (inputs.ndim - 2))
    scale = torch.rsqrt(variance + norm.eps) * norm.weight.view(shape)
    return centred * scale + norm.bias.view(shape)


def initialise(layer: Affine, *, generator: torch.Generator) -> None:
    """PyTorch's own default initialisation (uniform within 1 / sqrt(fan-in)), from a given generator."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.uniform_(-bound, bound, generator=generator)
