"""Prototypical networks (Snell et al. 2017; paper Eq. 2): logits are minus squared distances to class means.

In training a task is one normalisation batch; in evaluation running statistics are used (algorithms 1.4), so each example
is embedded once, unless ``evaluation_statistics`` is ``batch``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from datg.backbones.backbone import Backbone
from datg.learners.learner import LearnerOptions, MakeBackbone, NamedLearner
from datg.learners.prediction import Predictor, by_products
from datg.precision import widened
from datg.tasks import Classes


@dataclass(frozen=True, kw_only=True)
class ProtoNetOptions(LearnerOptions):
    """What a prototypical network can be told.

    Attributes:
        evaluation_statistics: what evaluation normalises by: running statistics of training, or those of the task.
    """

    evaluation_statistics: Literal["running", "batch"] = "running"


class ProtoNet(NamedLearner):
    """All blocks are shared; nothing is adapted."""

    options: ClassVar[type[LearnerOptions]] = ProtoNetOptions

    def __init__(self, backbone: Backbone, options: ProtoNetOptions) -> None:
        """Wraps ``backbone``, which keeps running statistics if they are what evaluation uses."""
        super().__init__()
        self.backbone = backbone
        self._embeds_once = options.evaluation_statistics == "running"

    @classmethod
    def build(cls, backbone: MakeBackbone, options: Any, *, generator: torch.Generator, ways: int) -> Self:
        """See :meth:`NamedLearner.build`; the number of ways does not matter here."""
        running = options.evaluation_statistics == "running"
        return cls(backbone(running_statistics=running, generator=generator), options)

    @staticmethod
    def shared_layers(depth: int) -> int:
        """Every layer: L_S = L."""
        return depth

    @property
    def embeds_once(self) -> bool:
        """Whether evaluation uses running statistics."""
        return self._embeds_once

    def set_sizes(self, shots: int, queries: int) -> tuple[int, ...]:
        """Support and query together."""
        return (shots + queries,)

    def classify(self, examples: Tensor, shots: int) -> Tensor:
        """Minus the squared Euclidean distance of each query to each prototype."""
        embeddings = widened(examples.flatten(3))
        prototypes = embeddings[:, :, :shots].mean(2)
        queries = embeddings[:, :, shots:].flatten(1, 2)
        return -squared_distances(queries, prototypes)

    def predict(self, examples: Tensor, shots: int) -> Tensor:
        """As :meth:`classify`, from embeddings or (batch statistics) from raw examples."""
        return self.classify(examples if self.embeds_once else self.encode(examples, shots, 0, self.last_shared), shots)

    def predictor(self, classes: Classes, shots: int) -> Predictor:
        """See :meth:`Learner.predictor`."""
        if not self.embeds_once:
            return super().predictor(classes, shots)
        return by_products(self.backbone, classes, self.classify, shots)


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """`(..., n, m)` squared Euclidean distances of `(..., n, d)` to `(..., m, d)`, by matrix product."""
    norms = left.square().sum(-1)[..., :, None] + right.square().sum(-1)[..., None, :]
    return torch.sub(norms, left @ right.transpose(-1, -2), alpha=2).clamp(min=0)
