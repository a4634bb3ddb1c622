"""What strategies that mix tasks across clusters of classes share (paper 3.1; Algorithm 1, lines 2 to 9).

Base classes are clustered once, before training. Every iteration draws a cluster; all T_i come from it and all T_j from
another one.
"""

from abc import ABC
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, Clustering, HostDraws, StrategyContext
from datg.strategies.task_mixup import Generated, TaskMixup


@dataclass(frozen=True, kw_only=True)
class ClusteredMixup(TaskMixup, ABC):
    """Mix tasks across clusters of base classes.

    Attributes:
        clusters: k; each cluster gets at least as many classes as a task has ways.
        cluster_features: what classes are clustered by: ``raw`` class means of the inputs (pictures as 4 x 4 thumbnails);
            ``embedding``, class means under a ProtoNet that was trained on real tasks of the base classes; ``init``, under
            a network that was not trained; ``file``, the user's own clusters; ``random``, a control.
        cluster_checkpoint: best weights for ``embedding``; without it such a network is trained first, once a search.
        cluster_file: for ``file``: YAML or JSON with ``clusters``, a list of lists of class names.
        small_clusters: with ``overlap`` a cluster may get fewer classes than a task has ways and borrows the nearest classes
            of other clusters; for data sets with too few base classes.
    """

    clusters: Annotated[int, Field(ge=2)] = 2
    cluster_features: Literal["raw", "embedding", "init", "file", "random"] = "raw"
    cluster_checkpoint: str | None = None
    cluster_file: str | None = None
    small_clusters: Literal["refuse", "overlap"] = "refuse"

    def __post_init__(self) -> None:
        """Make paths absolute: a trial may run in another folder."""
        for name in ("cluster_checkpoint", "cluster_file"):
            path = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, str(Path(path).absolute()))

    def validate(self, context: StrategyContext) -> list[str]:
        """Require a file where clusters are read from one, and only there."""
        problems = super().validate(context)
        if (self.cluster_features == "file") != (self.cluster_file is not None):
            problems.append(
                "`strategy.cluster_file` must be given with `strategy.cluster_features` file, and only then."
            )
        if self.cluster_checkpoint is not None and self.cluster_features != "embedding":
            problems.append("`strategy.cluster_checkpoint` goes with `strategy.cluster_features` embedding only.")
        if self.small_clusters == "overlap" and self.cluster_features in ("file", "random"):
            problems.append(
                "`strategy.small_clusters` overlap goes with `strategy.cluster_features` raw, embedding or init."
            )
        return problems

    def clustering(self, ways: int) -> Clustering:
        """Return how base classes are to be clustered for tasks of ``ways`` classes."""
        return Clustering(
            number=self.clusters,
            features=self.cluster_features,
            checkpoint=self.cluster_checkpoint,
            file=self.cluster_file,
            smallest=1 if self.small_clusters == "overlap" else ways,
        )

    @property
    def missing_network(self) -> str | None:
        """Return ``cluster_checkpoint`` where classes are clustered by embeddings of a network that is not there yet."""
        lacking = self.cluster_features == "embedding" and self.cluster_checkpoint is None
        return "cluster_checkpoint" if lacking else None

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the number of clusters too, unless they are read from a file."""
        number: dict[str, dict[str, list[Any]]] = {"strategy.clusters": {"int": [2, "max_clusters"]}}
        return (number if self.cluster_features != "file" else {}) | super().ranges()

    def generate_across(
        self, learner: Learner, batch: Batch, *, keep_real: bool = False, real_gradient: bool = True
    ) -> Generated:
        """Mix tasks of a cluster drawn uniformly with tasks of another, drawn uniformly among the rest."""
        batch = self.with_draws(learner, batch)
        assert batch.clusters is not None and batch.drawn is not None
        one, other = batch.clusters.index_select(0, batch.drawn.numbers["clusters"])
        return self.generate(learner, batch, class_masks=(one, other), keep_real=keep_real, real_gradient=real_gradient)

    def draw_on_host(self, learner: Learner, batch: Batch) -> HostDraws:
        """Draw the two clusters besides."""
        assert batch.clusters is not None
        pair = batch.streams.mixing.choice(len(batch.clusters), size=2, replace=False)
        drawn = super().draw_on_host(learner, batch)
        return replace(drawn, numbers={**drawn.numbers, "clusters": torch.from_numpy(pair)})
