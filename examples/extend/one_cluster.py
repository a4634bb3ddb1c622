"""One cluster: real tasks of the first cluster of classes, with the loss weighted."""

from dataclasses import dataclass
from typing import Any, ClassVar

from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, Clustering, Losses, Strategy, Weight, query_losses


@dataclass(frozen=True, kw_only=True)
class OneCluster(Strategy):
    """Draw tasks from one cluster.

    Attributes:
        weight: of the loss.
    """

    name: ClassVar[str] = "one_cluster"

    weight: Weight = 2.0

    refused_learners: ClassVar[dict[str, str]] = {"reptile": "its outer step ignores a weight of the loss"}
    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = ({"weight": 1.0},)

    def clustering(self, ways: int) -> Clustering:
        """Return two clusters of raw features."""
        return Clustering(number=2, features="raw", checkpoint=None, file=None, smallest=ways)

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the weight."""
        return {"strategy.weight": {"log": [0.1, 10]}}

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return the weighted cross-entropy of B tasks of the first cluster."""
        assert batch.clusters is not None
        tasks = batch.sampler.draw(batch.size, generator=batch.streams.tasks, within=batch.clusters[0])
        encoded = learner.encode(batch.sampler.classes.gather_tasks(tasks.rows), batch.shots, 0, learner.last_shared)
        loss = query_losses(learner.classify(encoded, batch.shots)).mean()
        return Losses(total=self.weight * loss, cross_entropy=loss)
