"""Vanilla: the learner on real tasks of all base classes, nothing added (paper 2.2)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, HostDraws, Losses, Strategy, query_losses


@dataclass(frozen=True, kw_only=True)
class Vanilla(Strategy):
    """Train on real tasks alone; there are no hyperparameters.

    A search varies the learning rate, from a tenth of the preset's (``lowest_lr``) to ten times it (``highest_lr``).
    """

    name: ClassVar[str] = "vanilla"

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the learning rate, within a factor of ten of the preset's: it has no hyperparameters of its own."""
        return {"training.lr": {"log": ["lowest_lr", "highest_lr"]}}

    def draw_on_host(self, learner: Learner, batch: Batch) -> HostDraws:
        """Return nothing: tasks are drawn on the device."""
        return HostDraws()

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B real tasks."""
        encoded = learner.encode(batch.draw(), batch.shots, 0, learner.last_shared)
        loss = query_losses(learner.classify(encoded, batch.shots)).mean()
        return Losses(total=loss, cross_entropy=loss)
