"""Vanilla: the learner on real tasks of all base classes, nothing added (paper 2.2)."""

from dataclasses import dataclass

from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, Losses, Strategy, query_loss


@dataclass(frozen=True, kw_only=True)
class Vanilla(Strategy):
    """No hyperparameters."""

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Cross-entropy of B real tasks."""
        tasks = batch.sampler.draw(batch.size, generator=batch.streams.tasks)
        examples = batch.sampler.classes.gather(tasks.rows)
        encoded = learner.encode(learner.sets(examples, tasks.shots), 0, learner.last_shared)
        loss = query_loss(learner.classify(encoded, tasks.shots))
        return Losses(total=loss, cross_entropy=loss)
