"""DATG, diverse and authentic task generation (paper section 3, Algorithm 1): inter-cluster Mixup plus an MMD term.

Where the paper's text and Algorithm 1 contradict each other, this follows Eq. 1 and the text: the inner loop of MAML sees
the mixed support only, and the MMD stands in the outer loss (lines 10 to 12 would put query labels into the inner loop).
The MMD compares embeddings under the meta-parameters, pooled over support and query, with all 2B real tasks of the batch.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from datg.data.class_table import ClassTable
from datg.generation.clustering import Clusters, cluster_classes
from datg.generation.mmd import mean_discrepancy
from datg.learners.learner import Learner
from datg.strategies.inter_cluster import ClusterCount, two_clusters
from datg.strategies.strategy import Batch, Losses, query_loss
from datg.strategies.task_mixup import TaskMixup


@dataclass(frozen=True, kw_only=True)
class Datg(TaskMixup):
    """Inter-cluster Mixup whose generated tasks are kept close to real ones.

    Attributes:
        clusters: k, as in inter-cluster Mixup.
        mmd_bandwidth: kernel bandwidth as a multiple of the median heuristic.
        mmd_weight: weight of the MMD in the outer loss; 0 leaves it out and is inter-cluster Mixup.
    """

    clusters: ClusterCount = 2
    mmd_bandwidth: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    mmd_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    def partition(self, base: ClassTable, *, ways: int, seed: int) -> Clusters:
        """See :func:`~datg.generation.clustering.cluster_classes`."""
        return cluster_classes(base, clusters=self.clusters, ways=ways, seed=seed)

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Cross-entropy of B generated tasks + weight * mean over them of MMD_cr (Eq. 4)."""
        keep_real = self.mmd_weight > 0
        tasks = self.generate(learner, batch, families=two_clusters(batch), keep_real=keep_real)
        cross_entropy = query_loss(learner.classify(tasks.mixed, batch.sampler.shots))
        if not keep_real:
            return Losses(total=cross_entropy, cross_entropy=cross_entropy)
        assert tasks.first is not None and tasks.second is not None
        real = torch.cat([learner.embed(tasks.first), learner.embed(tasks.second)])
        mmd = mean_discrepancy(learner.embed(tasks.mixed), real, bandwidth=self.mmd_bandwidth).mean()
        return Losses(total=cross_entropy + self.mmd_weight * mmd, cross_entropy=cross_entropy, mmd=mmd)
