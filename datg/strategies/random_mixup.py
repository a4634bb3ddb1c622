"""Random task Mixup (paper 3.1, first half; Table 3): pairs of tasks drawn from all base classes are mixed by Eq. 3.

With ``partner`` cyclic it is MLTI with linear mixing at a random layer and no within-task pairs.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from datg.learners.learner import Learner
from datg.strategies.strategy import NO_MIXING, Batch, Losses, query_losses
from datg.strategies.task_mixup import TaskMixup


@dataclass(frozen=True, kw_only=True)
class RandomMixup(TaskMixup):
    """Mix tasks of all base classes; see :class:`~datg.strategies.task_mixup.TaskMixup` for the other fields.

    Attributes:
        partner: whether T_j is drawn afresh or is the next task of the batch.
    """

    name: ClassVar[str] = "random_mixup"

    partner: Literal["fresh", "cyclic"] = "fresh"

    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = (
        NO_MIXING,
        {**NO_MIXING, "partner": "cyclic"},
        {"p_mix": 0.0},
        {**NO_MIXING, "mixer": "cutmix"},
    )

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B generated tasks."""
        tasks = self.generate(learner, self.with_draws(learner, batch), cyclic=self.partner == "cyclic")
        loss = query_losses(learner.classify(tasks.mixed.generated, batch.shots)).mean()
        return Losses(total=loss, cross_entropy=loss)
