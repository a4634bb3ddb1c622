"""Cosine: a prototypical network whose logits are cosines of the angles to class means (Gidaris & Komodakis 2018)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from datg.backbones.backbone import Backbone
from datg.data.episodes import DeviceTable
from datg.learners.learner import LearnerOptions
from datg.learners.prediction import Predictor, embed_all, row_places, shares
from datg.learners.protonet import EMBEDDINGS_AT_ONCE, ProtoNet, ProtoNetOptions
from datg.runtime.precision import to_float32


@dataclass(frozen=True, kw_only=True)
class CosineOptions(ProtoNetOptions):
    """Hold the options beyond ProtoNet's.

    Attributes:
        temperature: what cosines are divided by.
    """

    name: ClassVar[str] = "cosine"

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1


class CosineNet(ProtoNet):
    """Share all blocks; adapt nothing."""

    options: ClassVar[type[LearnerOptions]] = CosineOptions

    def __init__(self, backbone: Backbone, options: CosineOptions) -> None:
        """Wrap ``backbone``."""
        super().__init__(backbone, options)
        self._temperature = options.temperature

    def classify(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """Return `(B, N * Q, N)` cosines of queries and prototypes, over the temperature."""
        embeddings = normalize(to_float32(examples.flatten(3)), dim=-1)
        support, queries = embeddings[:, :, :shots], embeddings[:, :, shots:].flatten(1, 2)
        prototypes = support.mean(2) if labels is None else shares(labels) @ support[:, 0]
        return queries @ normalize(prototypes, dim=-1).transpose(1, 2) / self._temperature

    def predictor(self, classes: DeviceTable, shots: int) -> Predictor:
        """Embed every example once for all tasks, where running statistics allow it."""
        if not self.embeds_once:
            return super().predictor(classes, shots)
        embedded, places = embed_all(self.backbone, classes), row_places(classes)
        return Predictor(lambda rows: self.classify(embedded.gather_tasks(places[rows]), shots), EMBEDDINGS_AT_ONCE)
