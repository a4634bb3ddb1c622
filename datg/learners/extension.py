"""A learner with what a strategy adds to it."""

from abc import ABC

from torch import Tensor

from datg.backbones.backbone import Backbone
from datg.learners.learner import Learner


class Extension(Learner, ABC):
    """Wrap a learner with parameters of a strategy; what a subclass does not change is the learner's own.

    Attributes:
        learner: the one inside.
    """

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    @property
    def backbone(self) -> Backbone:  # type: ignore[override]
        """Return the backbone of the learner inside."""
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

    @property
    def ways(self) -> int | None:
        """See :attr:`Learner.ways`."""
        return self.learner.ways

    def predict(self, examples: Tensor, shots: int, labels: Tensor | None = None) -> Tensor:
        """See :meth:`Learner.predict`."""
        return self.learner.predict(examples, shots, labels)
