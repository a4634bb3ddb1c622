"""What every learner is.

Letters: B tasks, N ways, K shots, Q queries, L blocks, L_S of them shared by all tasks.

*Sets* are the examples of tasks cut into normalisation batches, each `(B, N, m, *shape)`: ProtoNet normalises support
and query together (one set with m = K + Q), MAML each by itself (two sets, m = K and m = Q). Strategies may do the same
to every set of a task at any layer up to L_S, and need not know which learner they work for.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from datg.backbones.backbone import Backbone

Sets = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class LearnerOptions:
    """The hyperparameters of a learner: a frozen dataclass, checked by its annotations."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Learner(nn.Module, ABC):
    """A backbone, and a way to classify queries given a support set.

    Attributes:
        options: the class of this learner's hyperparameters.
    """

    options: ClassVar[type[LearnerOptions]]
    backbone: Backbone

    @classmethod
    @abstractmethod
    def build(cls, backbone_type: Any, options: Any, *, generator: torch.Generator, ways: int, **backbone: Any) -> Self:
        """Builds the backbone with the batch normalisation that this learner needs, and the learner on top.

        Args:
            backbone_type: a class of the table of backbones.
            options: an instance of :attr:`options`.
            generator: initialises all weights.
            ways: N.
            **backbone: further arguments of the backbone.
        """

    @staticmethod
    @abstractmethod
    def shared_layers(depth: int) -> int:
        """L_S for a backbone of ``depth`` blocks: the last layer that strategies may mix."""

    @property
    def last_shared(self) -> int:
        """L_S of this learner."""
        return self.shared_layers(self.backbone.depth)

    @property
    @abstractmethod
    def embeds_once(self) -> bool:
        """Whether in evaluation an example's embedding is the same in every task (running statistics)."""

    @abstractmethod
    def sets(self, examples: Tensor, shots: int) -> Sets:
        """Cuts `(B, N, K + Q, *shape)` examples (at any layer) into this learner's normalisation batches."""

    def encode(self, sets: Sets, start: int, stop: int) -> Sets:
        """Passes sets from layer ``start`` to ``stop`` under the meta-parameters, with batch statistics."""
        return tuple(self.backbone(examples, start, stop) for examples in sets)

    @abstractmethod
    def embed(self, sets: Sets) -> Tensor:
        """The output of the last block under the meta-parameters, `(B, N * (K + Q), d)`, from sets at layer L_S."""

    @abstractmethod
    def classify(self, sets: Sets, shots: int) -> Tensor:
        """Query logits `(B, N * Q, N)` from sets at layer L_S; queries stand class by class."""

    @abstractmethod
    def predict(self, examples: Tensor, shots: int) -> Tensor:
        """Query logits `(B, N * Q, N)` as in a test, from `(B, N, K + Q, *shape)` examples.

        Where :attr:`embeds_once`, the examples are embeddings `(B, N, K + Q, d)` already.
        """
