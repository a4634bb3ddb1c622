"""Inter-cluster task Mixup (paper 3.1; Algorithm 1, lines 2 to 9; Table 3): DATG without its MMD term.

Base classes are clustered once. Every iteration draws a cluster; all T_i come from it and all T_j from another one.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from datg.data.class_table import ClassTable
from datg.generation.clustering import Clusters, cluster_classes
from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, Losses, query_loss
from datg.strategies.task_mixup import TaskMixup

ClusterCount = Annotated[int, Field(ge=2)]


@dataclass(frozen=True, kw_only=True)
class InterCluster(TaskMixup):
    """Task Mixup whose two tasks come from different clusters of classes.

    Attributes:
        clusters: k; each cluster gets at least as many classes as a task has ways.
    """

    clusters: ClusterCount = 2

    def partition(self, base: ClassTable, *, ways: int, seed: int) -> Clusters:
        """See :func:`~datg.generation.clustering.cluster_classes`."""
        return cluster_classes(base, clusters=self.clusters, ways=ways, seed=seed)

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Cross-entropy of B generated tasks."""
        tasks = self.generate(learner, batch, families=two_clusters(batch))
        loss = query_loss(learner.classify(tasks.mixed, batch.sampler.shots))
        return Losses(total=loss, cross_entropy=loss)


def two_clusters(batch: Batch) -> tuple[Tensor, Tensor]:
    """The classes, `(C,)` bool each, of a cluster drawn uniformly and of another one drawn uniformly among the rest."""
    assert batch.clusters is not None
    one, other = batch.streams.mixing.choice(len(batch.clusters), size=2, replace=False)
    return batch.clusters[one], batch.clusters[other]
