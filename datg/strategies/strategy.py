"""What every strategy is: a frozen dataclass whose fields are its hyperparameters, with a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict, Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from datg.data.episodes import TaskSampler
from datg.learners.learner import Learner, LearnerOptions
from datg.runtime.random_streams import RandomStreams, to_device_async

NO_INNER_LOOP = "the method regularises what an inner loop does, and protonet has none"
NOTHING_SHARED = "reptile adapts every layer and has no layers that all tasks share"
NO_MIXING: dict[str, Any] = {"alpha": 1000.0, "beta": 1e-6}  # hyperparameters with which lambda is 1
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
BetaParameter = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


@dataclass(frozen=True)
class Losses:
    """Hold the loss of one meta-batch by parts, as scalars.

    Attributes:
        total: what is minimised.
        others: further parts by name, before weighting.
    """

    total: Tensor
    cross_entropy: Tensor
    others: Mapping[str, Tensor] = field(default_factory=dict)

    def parts(self) -> dict[str, Tensor]:
        """Return all parts, scalars, under their public names, detached."""
        named = {"loss": self.total, "ce": self.cross_entropy, **self.others}
        return {name: value.detach() for name, value in named.items()}


@dataclass(frozen=True)
class HostDraws:
    """Hold everything about a meta-batch that is drawn on the host, before any of it is computed.

    Attributes:
        structure: what decides which operations follow: meta-batches of one structure differ in numbers alone.
        numbers: by name, of the same shapes for every meta-batch of a structure.
    """

    structure: tuple[int, ...] = ()
    numbers: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> "HostDraws":
        """Return the same with its numbers on ``device``, which nobody waits for."""
        return HostDraws(self.structure, {name: to_device_async(value, device) for name, value in self.numbers.items()})


@dataclass(frozen=True)
class Batch:
    """Hold what a strategy draws a meta-batch from.

    Attributes:
        sampler: draws tasks of base classes.
        size: B, tasks a meta-batch.
        streams: the generators of this training run.
        clusters: `(k, C)` bool, which class is in which cluster; None for strategies without clusters.
        progress: the share of the training that is done, in [0, 1).
        drawn: what was drawn on the host already, on the device; None where the strategy is yet to draw it.
    """

    sampler: TaskSampler
    size: int
    streams: RandomStreams
    clusters: Tensor | None = None
    progress: float = 0.0
    drawn: HostDraws | None = None

    @property
    def shots(self) -> int:
        """Return K."""
        return self.sampler.shots

    @property
    def device(self) -> torch.device:
        """Return the device of the examples."""
        return self.sampler.classes.examples.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.sampler.classes.examples.shape[1:])

    def draw(self) -> Tensor:
        """Return B tasks of all base classes, `(B, N, K + Q, *shape)`."""
        return self.sampler.classes.gather_tasks(self.sampler.draw(self.size, generator=self.streams.tasks).rows)


@dataclass(frozen=True, kw_only=True)
class StrategyContext:
    """Hold what a strategy's hyperparameters must fit.

    Attributes:
        shared_layers: L_S of the learner.
        channels: of every hidden layer of the backbone.
        batch: B.
        shape: of the examples, or None before there are data.
    """

    shared_layers: int
    channels: int
    learner: LearnerOptions
    batch: int
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """Say how a strategy wants the base classes clustered.

    Attributes:
        number: k.
        features: raw, embedding, init, file or random; see :class:`~datg.strategies.clustered_mixup.ClusteredMixup`.
        checkpoint: best weights for ``embedding``; None while that network is yet to be trained.
        file: of the clusters, for ``file``.
        smallest: how many classes a cluster needs of its own.
    """

    number: int
    features: str
    checkpoint: str | None
    file: str | None
    smallest: int


@dataclass(frozen=True, kw_only=True)
class Strategy(ABC):
    """Make training tasks in one way.

    Subclasses are frozen dataclasses: their fields are their hyperparameters, checked by their annotations.

    Attributes:
        name: of the strategy, in its table and in configurations.
    """

    name: ClassVar[str]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    # Learners that the method is not defined for, each with the reason.
    refused_learners: ClassVar[dict[str, str]] = {}
    # Hyperparameters with which the method is Vanilla, as far as there are any.
    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = ()

    def validate(self, context: StrategyContext) -> list[str]:
        """Return what is wrong with these hyperparameters in their context, one sentence each."""
        return []

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return what is worth searching besides: configuration keys and their ranges, as in the ``space`` of a YAML file."""
        return {}

    def clustering(self, ways: int) -> Clustering | None:
        """Return how base classes are to be clustered for tasks of ``ways`` classes; None for methods without clusters."""
        return None

    @property
    def missing_network(self) -> str | None:
        """Return the field that lacks the checkpoint of a network, which is then trained first on real tasks; None if none."""
        return None

    @property
    def gradient_clip(self) -> float | None:
        """Return the largest absolute value of an entry of the outer gradient; None leaves it as it is."""
        return None

    def extend(self, learner: Learner, *, generator: torch.Generator) -> Learner:
        """Return the learner with what further parameters the method has, initialised from ``generator``."""
        return learner

    def draw_on_host(self, learner: Learner, batch: Batch) -> HostDraws | None:
        """Draw ahead all that the host has to draw for a meta-batch; None for methods that draw along the way.

        :meth:`losses` of a batch that has it draws nothing on the host any more.
        """
        return None

    @abstractmethod
    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Draw one meta-batch and return its losses, with their graph."""


def query_losses(logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return cross-entropy of each query, `(B, N * Q)`.

    Args:
        logits: `(B, N * Q, N)`.
        labels: `(B, N * Q)`; queries stand class by class if they are not given.
    """
    tasks, queries, ways = logits.shape
    if labels is None:
        labels = torch.arange(ways, device=logits.device).repeat_interleave(queries // ways).expand(tasks, -1)
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(tasks, queries)


def two_label_losses(logits: Tensor, second_labels: Tensor, mixing_ratios: Tensor) -> Tensor:
    """Return `(B, N * Q)`: ``mixing_ratios`` CE(y) + (1 - ``mixing_ratios``) CE(``second_labels``).

    Args:
        logits: `(B, N * Q, N)` of queries that stand class by class.
        second_labels: `(B, N * Q)` second labels.
        mixing_ratios: `(B, 1)` or `(B, N * Q)` weight of the first.
    """
    return mixing_ratios * query_losses(logits) + (1 - mixing_ratios) * query_losses(logits, second_labels)
