"""Prototypical networks (Snell et al. 2017; paper Eq. 2): logits are minus squared distances to class means.

In training a task is one normalisation batch; in evaluation running statistics are used, so each example is embedded once,
unless ``evaluation_statistics`` is ``batch``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from datg.backbones.backbone import Backbone
from datg.data.episodes import DeviceTable
from datg.learners.distances import squared_distances
from datg.learners.learner import LearnerOptions, MakeBackbone, NamedLearner
from datg.learners.prediction import Predictor, embed_all, row_places, shares
from datg.runtime.gpu import buffer_bytes
from datg.runtime.precision import to_float32

EXAMPLES_AT_ONCE = 40_000  # looked up among products of embeddings: at 5 shots 6 million numbers
EMBEDDINGS_AT_ONCE = 8_000  # gathered embeddings stay within a processor's cache
MOST_BYTES_OF_PRODUCTS = 1 << 29  # of 11,585 examples; products of more cost as much as the distances of 20,000 tasks


@dataclass(frozen=True, kw_only=True)
class ProtoNetOptions(LearnerOptions):
    """Hold what a prototypical network can be told.

    Attributes:
        evaluation_statistics: what evaluation normalises by: running statistics, or those of the task.
        distance_scale: divisor of squared distances: nothing (``none``), or the length d of an embedding
            (``dimension``). Without it the first cross-entropy of an untrained network is some ln N + 3, and a large learning
            rate may shrink the last block until nothing is learned. Given weights score the same either way.
    """

    name: ClassVar[str] = "protonet"

    evaluation_statistics: Literal["running", "batch"] = "running"
    distance_scale: Literal["none", "dimension"] = "none"


class ProtoNet(NamedLearner):
    """Share all blocks; adapt nothing."""

    options: ClassVar[type[LearnerOptions]] = ProtoNetOptions

    def __init__(self, backbone: Backbone, options: ProtoNetOptions) -> None:
        """Wrap ``backbone``, which keeps running statistics if they are what evaluation uses."""
        super().__init__()
        self.backbone = backbone
        self._embeds_once = options.evaluation_statistics == "running"
        self._distance_scale = 1.0 if options.distance_scale == "none" else float(backbone.embedding_size)

    @classmethod
    def build(cls, backbone: MakeBackbone, options: Any, *, generator: torch.Generator, ways: int) -> Self:
        """See :meth:`NamedLearner.build`; the number of ways does not matter here."""
        running = options.evaluation_statistics == "running"
        return cls(backbone(running_statistics=running, generator=generator), options)

    @staticmethod
    def shared_layers(depth: int) -> int:
        """Share every layer: L_S = L."""
        return depth

    @property
    def embeds_once(self) -> bool:
        """Return whether evaluation uses running statistics."""
        return self._embeds_once

    def set_sizes(self, shots: int, queries: int) -> tuple[int, ...]:
        """Normalise support and query together."""
        return (shots + queries,)

    def classify(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return `(B, N * Q, N)` minus squared Euclidean distances of queries to prototypes, scaled (paper Eq. 2)."""
        embeddings = to_float32(examples.flatten(3))
        support = embeddings[:, :, :shots]
        prototypes = support.mean(2) if labels is None else shares(labels) @ support[:, 0]
        queries = embeddings[:, :, shots:].flatten(1, 2)
        return -squared_distances(queries, prototypes) / self._distance_scale

    def predict(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return query logits as in a test, from embeddings or (batch statistics) from raw examples; see the base class."""
        embedded = examples if self.embeds_once else self.encode(examples, shots, 0, self.last_shared)
        return self.classify(embedded, shots, labels)

    def predictor(self, classes: DeviceTable, shots: int) -> Predictor:
        """See :meth:`Learner.predictor`."""
        if not self.embeds_once:
            return super().predictor(classes, shots)
        return _predictor_by_products(self.backbone, classes, self.classify, shots, self._distance_scale)


def _predictor_by_products(
    backbone: Backbone,
    classes: DeviceTable,
    classify: Callable[[Tensor, int], Tensor],
    shots: int,
    distance_scale: float,
) -> Predictor:
    """Return minus squared distances of queries to prototypes over ``distance_scale``, under running statistics.

    With G the scalar products of all embeddings, || q - mean_k s_k ||^2 = G_qq - 2 mean_k G_qk + mean_kl G_kl: looked up.
    Where G would be too large, ``classify`` takes the embeddings of a block of tasks.
    """
    embedded, places = embed_all(backbone, classes), row_places(classes)
    number = len(embedded.examples)
    if number**2 * 4 > buffer_bytes(embedded.examples.device, on_cpu=MOST_BYTES_OF_PRODUCTS):
        return Predictor(lambda rows: classify(embedded.gather_tasks(places[rows]), shots), EMBEDDINGS_AT_ONCE)
    products = (embedded.examples @ embedded.examples.T).div_(distance_scale)

    def logits(rows: Tensor) -> Tensor:
        ways, rows = rows.shape[1], places[rows]
        support, query = rows[:, :, :shots], rows[:, :, shots:].flatten(1)
        crossed = products.take(query[..., None] * number + support.flatten(1)[:, None])
        squared_norms = products.take(support[..., None] * number + support[:, :, None]).mean((2, 3))
        queries = products.diagonal()[query]
        return 2 * crossed.unflatten(2, (ways, shots)).mean(3) - squared_norms[:, None] - queries[..., None]

    return Predictor(logits, EXAMPLES_AT_ONCE)
