"""What clusters do for tasks, measured: the variance of stratified sampling (paper Eq. 9), and diversity and authenticity of
generated tasks, at the input or in an embedding.

Legend: a task is N classes with one example each; its mean is the mean over its examples; T tasks are drawn of each kind.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from datg.data.class_table import ClassTable
from datg.data.episodes import DeviceTable, TaskSampler
from datg.generation.clustering import Clusters
from datg.generation.mixup import draw_pairings, mix
from datg.generation.mmd import mean_discrepancy
from datg.runtime.random_streams import RandomStreams
from datg.strategies.datg import Datg

TASKS = 200  # of each kind
BATCH = 4  # tasks of a meta-batch
REAL = 16  # real tasks that each generated one is held against
AT_ONCE = 100  # examples that are embedded together
Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Spread:
    """Hold how the mean of a meta-batch varies with the way its classes are drawn (Eq. 9: stratified is not larger).

    Attributes:
        simple: variance (the trace of the covariance) of the mean of a batch whose classes come from all base classes.
        stratified: the same where each task's classes come from one cluster, the clusters in turn.
        between: share of the variance of class means that lies between clusters, in [0, 1].
    """

    simple: float
    stratified: float
    between: float


@dataclass(frozen=True)
class Diversity:
    """Hold how much generated tasks differ from each other, and from real ones.

    Attributes:
        kind: how the tasks were made.
        distance: mean distance between the means of two tasks.
        rank: effective rank of the covariance of task means, exp(entropy of its normalised eigenvalues).
        mmd: mean MMD (Eq. 4, bandwidth 1) to real tasks.
    """

    kind: str
    distance: float
    rank: float
    mmd: float


def measure(
    base: ClassTable, clusters: Clusters, *, ways: int, seed: int, embed: Embed = lambda examples: examples.flatten(1)
) -> tuple[Spread, list[Diversity]]:
    """Return both for the base classes of a data set.

    Args:
        base: the classes.
        clusters: of them.
        ways: N of a task.
        seed: of the draws.
        embed: from `(n, *shape)` inputs to `(n, d)`; by default the inputs themselves.
    """
    draws = _Draws(base, clusters, ways=ways, seed=seed, embed=embed)
    real = draws.real(TASKS)
    between = _share_between(draws.class_means(), torch.from_numpy(clusters.cluster_masks()))
    spread = Spread(_batch_variance(real), _batch_variance(draws.of_one_cluster(TASKS)), between)
    held_against = real[:REAL].clone()
    del real  # of large pictures one kind takes as much memory as is comfortable
    kinds: dict[str, Callable[[], Tensor]] = {
        "real tasks": lambda: draws.real(TASKS),
        "mixtures of any two tasks": lambda: draws.mixed(TASKS, across=False),
        "mixtures across clusters": lambda: draws.mixed(TASKS, across=True),
    }
    return spread, [_diversity(kind, draw(), held_against) for kind, draw in kinds.items()]


def describe_spread(spread: Spread) -> str:
    """Return it in a sentence."""
    return (
        f"variance of a meta-batch's mean: {spread.simple:.4g} with classes of all, {spread.stratified:.4g} cluster by cluster "
        f"(Eq. 9: not larger); {spread.between:.0%} of the variance of class means lies between clusters"
    )


def describe_diversity(found: Diversity) -> str:
    """Return it in a line."""
    return f"{found.kind}: mean distance {found.distance:.4g}, effective rank {found.rank:.1f}, MMD to real tasks {found.mmd:.4g}"


class _Draws:
    """Draws `(tasks, N, d)` embedded tasks of each kind."""

    def __init__(self, base: ClassTable, clusters: Clusters, *, ways: int, seed: int, embed: Embed) -> None:
        self._classes, self._ways, self._embed = DeviceTable.from_table(base), ways, embed
        self._sampler = TaskSampler(self._classes, ways=ways, shots=1, queries=0)
        self._streams, self._members = RandomStreams.from_seed(seed), torch.from_numpy(clusters.cluster_masks())

    def _inputs(self, number: int, members: Tensor | None) -> Tensor:
        """Return `(number, N, *shape)` inputs of tasks, of one cluster each if its ``members`` `(number, C)` are given."""
        rows = [
            self._sampler.draw(
                1, generator=self._streams.tasks, within=None if members is None else members[index]
            ).rows
            for index in range(number)
        ]
        return self._classes.gather(torch.cat(rows)[:, :, 0])

    def _embedded(self, inputs: Tensor) -> Tensor:
        parts = [self._embed(part) for part in inputs.flatten(0, 1).split(AT_ONCE)]
        return torch.cat(parts).unflatten(0, inputs.shape[:2])

    def real(self, number: int) -> Tensor:
        """Return tasks of any classes."""
        return self._embedded(self._inputs(number, None))

    def of_one_cluster(self, number: int) -> Tensor:
        """Return tasks of one cluster each, the clusters in turn."""
        return self._embedded(self._inputs(number, self._members[torch.arange(number) % len(self._members)]))

    def mixed(self, number: int, *, across: bool) -> Tensor:
        """Return mixtures of two tasks at the input, with DATG's own Beta distribution and a random pairing of classes."""
        method, mixing = Datg(), self._streams.mixing
        sides: list[Tensor | None] = [None, None]
        if across:
            pairs = [mixing.choice(len(self._members), size=2, replace=False) for _ in range(number)]
            sides = [self._members[torch.tensor([int(pair[side]) for pair in pairs])] for side in (0, 1)]
        first, second = (self._inputs(number, side) for side in sides)
        order = torch.from_numpy(draw_pairings(number, self._ways, mixing))
        second = second[torch.arange(number)[:, None], order]
        shares = torch.tensor([float(mixing.beta(method.alpha, method.beta)) for _ in range(number)])
        mixtures = mix(first.flatten(0, 1), second.flatten(0, 1), shares.repeat_interleave(self._ways))
        return self._embedded(mixtures.unflatten(0, (number, self._ways)))

    def class_means(self) -> Tensor:
        """Return `(C, d)` means of up to 20 examples of each class."""
        means = []
        for start, count in zip(self._classes.starts.tolist(), self._classes.counts.tolist(), strict=True):
            rows = torch.arange(start, start + min(count, 20))
            means.append(self._embed(self._classes.gather(rows)).mean(0))
        return torch.stack(means)


def _batch_variance(tasks: Tensor) -> float:
    """Return the trace of the covariance of the mean of BATCH tasks, from `(T, N, d)` tasks."""
    means = tasks.mean(1).unflatten(0, (-1, BATCH)).mean(1)
    return float(means.var(0).sum())


def _share_between(class_means: Tensor, members: Tensor) -> float:
    """Return which share of the variance of `(C, d)` class means lies between clusters; classes of several count in each."""
    centre = class_means.mean(0)
    total = (class_means - centre).square().sum()
    inside = sum((class_means[own] - class_means[own].mean(0)).square().sum() for own in members.bool())
    return float((1 - inside / total).clamp(0, 1))


def _diversity(kind: str, tasks: Tensor, real: Tensor) -> Diversity:
    means = tasks.mean(1)
    distances = torch.pdist(means)
    spectrum = torch.linalg.svdvals(means - means.mean(0)).square()
    shares = spectrum[spectrum > 0] / spectrum.sum()
    rank = float((-(shares * shares.log()).sum()).exp())
    mmd = torch.stack([mean_discrepancy(part, real, bandwidth=1.0).mean() for part in tasks[: 4 * REAL].split(REAL)])
    return Diversity(kind, float(distances.mean()), rank, float(mmd.mean()))
