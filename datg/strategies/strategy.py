"""What every strategy is: a frozen dataclass whose fields are its hyperparameters, with a loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor
from torch.nn.functional import cross_entropy

from datg.data.class_table import ClassTable
from datg.generation.clustering import Clusters
from datg.learners.learner import Learner
from datg.seeding import Streams
from datg.tasks import TaskSampler


@dataclass(frozen=True)
class Losses:
    """The loss of one meta-batch by parts, as scalars.

    Attributes:
        total: what is minimised.
        cross_entropy: on the queries.
        mmd: before weighting; None where the strategy has none.
    """

    total: Tensor
    cross_entropy: Tensor
    mmd: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        """All parts under their public names, detached."""
        named = {"loss": self.total, "ce": self.cross_entropy, "mmd": self.mmd}
        return {name: value.detach() for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Batch:
    """What a strategy draws a meta-batch from.

    Attributes:
        sampler: draws tasks of base classes.
        size: B, tasks a meta-batch.
        streams: the generators of this training run.
        clusters: `(k, C)` bool, which class is in which cluster; None for strategies without clusters.
    """

    sampler: TaskSampler
    size: int
    streams: Streams
    clusters: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Strategy(ABC):
    """One way of making training tasks.

    Subclasses are frozen dataclasses: their fields are their hyperparameters, checked by their annotations.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    # Learners that the method is not defined for, each with the reason.
    refused_learners: ClassVar[dict[str, str]] = {}

    def problems(self, shared_layers: int) -> list[str]:
        """What is wrong with these hyperparameters for a learner that shares ``shared_layers`` layers."""
        return []

    def partition(self, base: ClassTable, *, ways: int, seed: int) -> Clusters | None:
        """The clusters of base classes that this strategy works with, if any.

        Raises:
            ConfigError: there are too few classes.
        """
        return None

    @abstractmethod
    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Draws one meta-batch and returns its losses, with their graph."""


def query_loss(logits: Tensor) -> Tensor:
    """Mean cross-entropy over tasks and queries of `(B, N * Q, N)` logits whose queries stand class by class."""
    tasks, queries, ways = logits.shape
    labels = torch.arange(ways, device=logits.device).repeat_interleave(queries // ways).repeat(tasks)
    return cross_entropy(logits.flatten(0, 1), labels)
