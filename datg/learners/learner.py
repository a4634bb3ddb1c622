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
from datg.data.episodes import DeviceTable
from datg.learners.prediction import Predictor, examples_at_once
from datg.runtime.precision import to_float32
from datg.runtime.random_streams import Noise

MakeBackbone = Callable[..., Backbone]


@dataclass(frozen=True, kw_only=True)
class LearnerOptions:
    """Hold the hyperparameters of a learner: a frozen dataclass, checked by its annotations.

    Attributes:
        name: of the learner, in its table and in configurations.
    """

    name: ClassVar[str]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Learner(nn.Module, ABC):
    """Classify queries given a support set, by a backbone."""

    backbone: Backbone

    @property
    @abstractmethod
    def last_shared(self) -> int:
        """Return L_S: the last layer that all tasks share, and that strategies may change."""

    @property
    @abstractmethod
    def embeds_once(self) -> bool:
        """Return whether in evaluation an example's embedding is the same in every task (running statistics)."""

    @abstractmethod
    def set_sizes(self, shots: int, queries: int) -> tuple[int, ...]:
        """Return how the K + Q examples of a class are cut into normalisation batches."""

    def sets(self, examples: Tensor, shots: int) -> tuple[Tensor, ...]:
        """Cut `(B, N, K + Q, *shape)` examples along their third axis into normalisation batches."""
        return examples.split(self.set_sizes(shots, examples.shape[2] - shots), dim=2)

    def encode(self, examples: Tensor, shots: int, start: int, stop: int) -> Tensor:
        """Pass `(B, N, K + Q, *shape)` from layer ``start`` to ``stop`` under the meta-parameters, with batch statistics."""
        if start == stop:
            return examples
        encoded: Tensor = self.backbone(examples, start, stop, sets=self.set_sizes(shots, examples.shape[2] - shots))
        return encoded

    def embed(self, examples: Tensor, shots: int) -> Tensor:
        """Return the output of the last block under the meta-parameters, `(B, N * (K + Q), d)`, from examples at layer L_S."""
        return to_float32(self.encode(examples, shots, self.last_shared, self.backbone.depth).flatten(3).flatten(1, 2))

    @abstractmethod
    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """Return query logits `(B, N * Q, N)` from examples at layer L_S; queries stand class by class."""

    @property
    def ways(self) -> int | None:
        """Return how many classes every task must have; None for any number."""
        return None

    @abstractmethod
    def predict(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return query logits `(B, N * Q, N)` as in a test, from `(B, N, K + Q, *shape)` examples.

        Where :attr:`embeds_once`, the examples are embeddings `(B, N, K + Q, d)` already.

        Args:
            examples: of B tasks.
            shots: K.
            labels: `(S,)`, of tasks whose classes have unequal numbers of support examples: all S of them, then the M queries,
                stand on one axis, `(B, 1, S + M, *shape)`; ``shots`` is S, and the logits are `(B, M, N)`.
        """

    def predictor(self, classes: DeviceTable, shots: int) -> Predictor:
        """Classify queries of many tasks of ``classes`` as :meth:`predict` does; the learner must not change meanwhile."""
        return Predictor(
            lambda rows: self.predict(classes.gather_tasks(rows), shots), examples_at_once(classes.examples)
        )

    def set_purpose(self, purpose: str) -> None:
        """Say what is evaluated next: averages over draws may take fewer in ``validation`` than elsewhere."""

    def draw_from(self, generator: torch.Generator | None) -> None:
        """Say where dropout and other noise in the network come from."""
        for module in self.modules():
            if isinstance(module, Noise):
                module.generator = generator


class NamedLearner(Learner, ABC):
    """Extend a learner of the table: it can be built from a configuration.

    Attributes:
        options: the class of this learner's hyperparameters.
    """

    options: ClassVar[type[LearnerOptions]]

    @classmethod
    @abstractmethod
    def build(cls, backbone: MakeBackbone, options: Any, *, generator: torch.Generator, ways: int) -> Self:
        """Build the backbone with the batch normalisation that this learner needs, and the learner on top.

        Args:
            backbone: a backbone with its shape and options, called with ``running_statistics`` and ``generator``.
            options: an instance of :attr:`options`.
            generator: initialises all weights.
            ways: N.
        """

    @staticmethod
    @abstractmethod
    def shared_layers(depth: int) -> int:
        """Return L_S for a backbone of ``depth`` blocks."""

    @property
    def last_shared(self) -> int:
        """See :attr:`Learner.last_shared`."""
        return self.shared_layers(self.backbone.depth)
