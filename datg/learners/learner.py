"""What every learner is.

Letters: B tasks, N ways, K shots, Q queries, L blocks, L_S of them shared by all tasks.

Tasks pass through a learner as `(B, N, K + Q, *shape)` examples at some layer, the first K of each class the support set.
A learner alone knows which of them are normalised together: ProtoNet normalises support and query as one batch, the
learners with an inner loop each by itself. Strategies may change examples at any layer up to L_S, and need not know which
learner they work for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from datg.backbones.backbone import Backbone
from datg.learners.prediction import Predictor, by_passing
from datg.precision import widened
from datg.seeding import Noise
from datg.tasks import Classes

MakeBackbone = Callable[..., Backbone]


@dataclass(frozen=True, kw_only=True)
class LearnerOptions:
    """The hyperparameters of a learner: a frozen dataclass, checked by its annotations."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Learner(nn.Module, ABC):
    """A backbone, and a way to classify queries given a support set."""

    backbone: Backbone

    @property
    @abstractmethod
    def last_shared(self) -> int:
        """L_S: the last layer that all tasks share, and that strategies may change."""

    @property
    @abstractmethod
    def embeds_once(self) -> bool:
        """Whether in evaluation an example's embedding is the same in every task (running statistics)."""

    @abstractmethod
    def set_sizes(self, shots: int, queries: int) -> tuple[int, ...]:
        """How the K + Q examples of a class are cut into normalisation batches."""

    def sets(self, examples: Tensor, shots: int) -> tuple[Tensor, ...]:
        """Cuts `(B, N, K + Q, *shape)` examples along their third axis into normalisation batches."""
        return examples.split(self.set_sizes(shots, examples.shape[2] - shots), dim=2)

    def encode(self, examples: Tensor, shots: int, start: int, stop: int) -> Tensor:
        """Passes examples from layer ``start`` to ``stop`` under the meta-parameters, with batch statistics."""
        if start == stop:
            return examples
        encoded: Tensor = self.backbone(examples, start, stop, sets=self.set_sizes(shots, examples.shape[2] - shots))
        return encoded

    def embed(self, examples: Tensor, shots: int) -> Tensor:
        """The output of the last block under the meta-parameters, `(B, N * (K + Q), d)`, from examples at layer L_S."""
        return widened(self.encode(examples, shots, self.last_shared, self.backbone.depth).flatten(3).flatten(1, 2))

    @abstractmethod
    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """Query logits `(B, N * Q, N)` from examples at layer L_S; queries stand class by class."""

    @abstractmethod
    def predict(self, examples: Tensor, shots: int) -> Tensor:
        """Query logits `(B, N * Q, N)` as in a test, from `(B, N, K + Q, *shape)` examples.

        Where :attr:`embeds_once`, the examples are embeddings `(B, N, K + Q, d)` already.
        """

    def predictor(self, classes: Classes, shots: int) -> Predictor:
        """Classifies queries of many tasks of ``classes`` as :meth:`predict` does; the learner must not change meanwhile."""
        return by_passing(self, classes, shots)

    def draw_from(self, generator: torch.Generator | None) -> None:
        """Says where dropout and other noise in the network come from."""
        for module in self.modules():
            if isinstance(module, Noise):
                module.generator = generator


class NamedLearner(Learner, ABC):
    """A learner of the table: it can be built from a configuration.

    Attributes:
        options: the class of this learner's hyperparameters.
    """

    options: ClassVar[type[LearnerOptions]]

    @classmethod
    @abstractmethod
    def build(cls, backbone: MakeBackbone, options: Any, *, generator: torch.Generator, ways: int) -> Self:
        """Builds the backbone with the batch normalisation that this learner needs, and the learner on top.

        Args:
            backbone: a backbone with its shape and options, called with ``running_statistics`` and ``generator``.
            options: an instance of :attr:`options`.
            generator: initialises all weights.
            ways: N.
        """

    @staticmethod
    @abstractmethod
    def shared_layers(depth: int) -> int:
        """L_S for a backbone of ``depth`` blocks."""

    @property
    def last_shared(self) -> int:
        """See :attr:`Learner.last_shared`."""
        return self.shared_layers(self.backbone.depth)


class Extension(Learner, ABC):
    """A learner with parameters of a strategy around it; what a subclass does not change is the learner's own.

    Attributes:
        learner: the one inside.
    """

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    @property
    def backbone(self) -> Backbone:  # type: ignore[override]
        """Of the learner inside."""
        return self.learner.backbone

    @property
    def last_shared(self) -> int:
        """See :attr:`Learner.last_shared`."""
        return self.learner.last_shared

    @property
    def embeds_once(self) -> bool:
        """See :attr:`Learner.embeds_once`."""
        return self.learner.embeds_once

    def set_sizes(self, shots: int, queries: int) -> tuple[int, ...]:
        """See :meth:`Learner.set_sizes`."""
        return self.learner.set_sizes(shots, queries)

    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """See :meth:`Learner.classify`."""
        return self.learner.classify(examples, shots)

    def predict(self, examples: Tensor, shots: int) -> Tensor:
        """See :meth:`Learner.predict`."""
        return self.learner.predict(examples, shots)
