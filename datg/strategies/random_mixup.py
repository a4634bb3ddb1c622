"""Random task Mixup (paper 3.1, first half; Table 3): pairs of tasks drawn from all base classes are mixed by Eq. 3."""

from dataclasses import dataclass

from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, Losses, query_loss
from datg.strategies.task_mixup import TaskMixup


@dataclass(frozen=True, kw_only=True)
class RandomMixup(TaskMixup):
    """Mixes tasks of all base classes; see :class:`~datg.strategies.task_mixup.TaskMixup` for the fields."""

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Cross-entropy of B generated tasks."""
        tasks = self.generate(learner, batch)
        loss = query_loss(learner.classify(tasks.mixed, batch.sampler.shots))
        return Losses(total=loss, cross_entropy=loss)
