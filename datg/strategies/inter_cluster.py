"""Inter-cluster task Mixup (paper 3.1; Table 3): DATG without its MMD term."""

from dataclasses import dataclass
from typing import Any, ClassVar

from datg.learners.learner import Learner
from datg.strategies.clustered_mixup import ClusteredMixup
from datg.strategies.strategy import NO_MIXING, Batch, Losses, query_losses


@dataclass(frozen=True, kw_only=True)
class InterCluster(ClusteredMixup):
    """Mix two tasks that come from different clusters of classes."""

    name: ClassVar[str] = "inter_cluster"

    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = (
        NO_MIXING,
        {"p_mix": 0.0},
    )

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return cross-entropy of B generated tasks."""
        tasks = self.generate_across(learner, batch)
        loss = query_losses(learner.classify(tasks.mixed.generated, batch.shots)).mean()
        return Losses(total=loss, cross_entropy=loss)
