"""Clustering of base classes (paper 3.1; Algorithm 1, line 2): k clusters of at least N classes each.

A cluster with fewer classes than ways holds no task, so plain k-means will not do. k-means gives the start; then centroids
alternate with the *exact* cheapest assignment under the size rule, a rectangular assignment problem with N columns for each
cluster (cost to its centroid) and C - kN free columns (cost to the nearest centroid), until it stands still.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datg.data.class_table import ClassTable
from datg.errors import ConfigError
from datg.storage.files import read_yaml

Floats = npt.NDArray[np.float64]
THUMBNAIL = 4
KMEANS_STARTS = 10
MAX_ROUNDS = 100


@dataclass(frozen=True)
class Clusters:
    """Hold a partition of classes.

    Attributes:
        names: the classes.
        assignment: `(C,)` the cluster of each, 0 to k - 1.
        distances: `(C,)` distance to the own centroid in feature space.
        moved: how many classes the size rule took out of their nearest cluster.
        source: what it was made from: raw, embedding, init, file or random.
        seed: of k-means or of chance.
        borrowed: for each cluster, classes of other clusters that it borrows to have enough for a task.
    """

    names: tuple[str, ...]
    assignment: npt.NDArray[np.int64]
    distances: Floats
    moved: int
    source: str
    seed: int
    borrowed: tuple[tuple[int, ...], ...] = ()

    @property
    def number(self) -> int:
        """Return k."""
        return int(self.assignment.max()) + 1

    def cluster_masks(self) -> npt.NDArray[np.bool_]:
        """Return `(k, C)`: which class tasks of each cluster may hold."""
        members = np.arange(self.number)[:, None] == self.assignment
        for cluster, classes in enumerate(self.borrowed):
            members[cluster, list(classes)] = True
        return members

    def describe(self) -> dict[str, Any]:
        """Return what ``clusters.json`` says."""
        members = [
            {
                name: round(float(d), 4)
                for name, a, d in zip(self.names, self.assignment, self.distances, strict=True)
                if a == k
            }
            for k in range(self.number)
        ]
        said = {"features": self.source, "seed": self.seed, "moved by the size rule": self.moved, "clusters": members}
        if any(self.borrowed):
            said["borrowed"] = [[self.names[index] for index in classes] for classes in self.borrowed]
        return said

    @classmethod
    def from_description(cls, said: dict[str, Any], names: tuple[str, ...]) -> "Clusters":
        """Return what :meth:`describe` said of ``names``; distances as they were rounded there.

        Raises:
            KeyError: it lacks something, or a class.
        """
        clusters = said["clusters"]
        owner = {name: index for index, members in enumerate(clusters) for name in members}
        distances = {name: distance for members in clusters for name, distance in members.items()}
        return cls(
            names,
            np.array([owner[name] for name in names]),
            np.array([distances[name] for name in names], dtype=np.float64),
            said["moved by the size rule"],
            said["features"],
            said["seed"],
            tuple(tuple(map(names.index, classes)) for classes in said.get("borrowed", ())),
        )


def most_clusters(classes: int, ways: int) -> int:
    """Return the largest k for which k clusters of at least ``ways`` classes exist."""
    return classes // ways


def check_number(clusters: int, classes: int, ways: int) -> None:
    """Raise ConfigError unless ``classes`` base classes make ``clusters`` clusters of at least ``ways`` classes."""
    if most_clusters(classes, ways) < 2:
        raise ConfigError(
            f"`strategy.clusters` must be at least 2, but {classes} base classes make no two clusters of {ways} classes; lower "
            "task.ways, let clusters share classes (strategy.small_clusters: overlap), or choose strategy random_mixup."
        )
    if clusters > most_clusters(classes, ways):
        raise ConfigError(
            f"`strategy.clusters` must be at most {most_clusters(classes, ways)} for {classes} base classes and {ways} ways, "
            f"got {clusters}."
        )


def cluster_classes(
    names: tuple[str, ...],
    features: Floats,
    *,
    clusters: int,
    ways: int,
    source: str,
    seed: int,
    smallest: int | None = None,
) -> Clusters:
    """Partition classes by their `(C, d)` features into ``clusters`` clusters of at least ``smallest`` classes each.

    Args:
        names: of the C classes.
        features: of the classes.
        clusters: k.
        ways: N, what a task of a cluster needs; a smaller cluster borrows the classes nearest to its centroid.
        source: what the features are.
        seed: of k-means.
        smallest: classes that each cluster has of its own; N by default.

    Raises:
        ConfigError: there are too few classes.
    """
    smallest = ways if smallest is None else smallest
    check_number(clusters, len(names), smallest)
    features = standardise(features)
    assignment, moved = constrained_kmeans(features, clusters=clusters, smallest=smallest, seed=seed)
    centroids = _centroids(features, assignment, clusters)
    distances = np.linalg.norm(features - centroids[assignment], axis=1)
    borrowed = _borrow(_costs(features, centroids), assignment, ways)
    return Clusters(names, assignment, distances, moved, source, seed, borrowed)


def _borrow(costs: Floats, assignment: npt.NDArray[np.int64], ways: int) -> tuple[tuple[int, ...], ...]:
    """Return for each cluster the nearest classes of others, as many as it lacks; ``costs`` `(C, k)`."""
    borrowed = []
    for cluster, cost in enumerate(costs.T):
        lacking = max(ways - int((assignment == cluster).sum()), 0)
        others = np.flatnonzero(assignment != cluster)
        borrowed.append(tuple(int(index) for index in others[np.argsort(cost[others], kind="stable")][:lacking]))
    return tuple(borrowed)


def random_clusters(names: tuple[str, ...], *, clusters: int, ways: int, seed: int) -> Clusters:
    """Return a balanced partition by chance: the control of a comparison of features.

    Raises:
        ConfigError: there are fewer than clusters * ways classes.
    """
    check_number(clusters, len(names), ways)
    assignment = np.random.Generator(np.random.PCG64(seed)).permutation(np.arange(len(names)) % clusters)
    return Clusters(names, assignment, np.zeros(len(names)), 0, "random", seed)


def read_clusters(path: Path, names: tuple[str, ...], *, clusters: int, ways: int) -> Clusters:
    """Return the user's own partition: YAML or JSON with ``clusters``, a list of lists of class names.

    The ``clusters.json`` of a trial is such a file, too.

    Raises:
        ConfigError: it is missing, or not a partition of ``names`` into ``clusters`` clusters of at least ``ways`` classes.
    """
    groups = read_yaml(path).get("clusters")
    if not isinstance(groups, list) or not all(isinstance(group, list | dict) for group in groups):
        raise ConfigError(f"{path} must hold `clusters`, a list of lists of class names.")
    members = [[str(name) for name in group] for group in groups]
    listed = [name for group in members for name in group]
    doubled = sorted({name for name in listed if listed.count(name) > 1})
    wrong = {
        "are no base classes": sorted(set(listed) - set(names)),
        "are missing": sorted(set(names) - set(listed)),
        "stand twice": doubled,
    }
    problems = [f"{path}: {', '.join(classes)} {what}." for what, classes in wrong.items() if classes]
    problems += [
        f"{path}: cluster {index} has {len(group)} classes, but a task has {ways} ways."
        for index, group in enumerate(members)
        if len(group) < ways
    ]
    if len(members) != clusters:
        problems.append(
            f"`strategy.clusters` must be {len(members)}, the number of clusters in {path}, got {clusters}."
        )
    if problems:
        raise ConfigError("\n".join(problems))
    owner = {name: index for index, group in enumerate(members) for name in group}
    return Clusters(names, np.array([owner[name] for name in names]), np.zeros(len(names)), 0, "file", 0)


def raw_features(table: ClassTable) -> Floats:
    """Return `(C, d)` class means of the inputs: pictures as 4 x 4 colour thumbnails, cells as they are."""
    means = []
    for start, count in zip(table.starts, table.counts, strict=True):
        mean = table.examples[start : start + count].mean(0, dtype=np.float64)
        means.append(_thumbnail(mean).ravel() if mean.ndim == 3 else mean)
    return np.stack(means)


def _thumbnail(picture: Floats) -> Floats:
    """Average `(channels, height, width)` over a 4 x 4 grid of nearly equal cells."""
    for axis in (1, 2):
        cells = np.array_split(picture, THUMBNAIL, axis=axis)
        picture = np.stack([cell.mean(axis=axis) for cell in cells], axis=axis)
    return picture


def standardise(features: Floats) -> Floats:
    """Scale `(C, d)` features to zero mean and unit deviation of each dimension over the classes; constant ones become zero."""
    deviation = features.std(0)
    return (features - features.mean(0)) / np.where(deviation > 0, deviation, 1.0)


def constrained_kmeans(
    features: Floats, *, clusters: int, smallest: int, seed: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Run a k-means whose clusters hold at least ``smallest`` points each.

    Returns:
        The assignment `(C,)`, and how many points are not in the cluster of their nearest centroid.
    """
    # Here, because it takes a second and a search's driver never clusters.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        start = KMeans(clusters, n_init=KMEANS_STARTS, random_state=seed % 2**32).fit(features)
    assignment = start.labels_.astype(np.int64)
    centroids = start.cluster_centers_
    for _ in range(MAX_ROUNDS):
        improved = cheapest_assignment(_costs(features, centroids), smallest)
        if np.array_equal(improved, assignment):
            break
        assignment = improved
        centroids = _centroids(features, assignment, clusters)
    nearest = _costs(features, centroids).argmin(1)
    return assignment, int((nearest != assignment).sum())


def cheapest_assignment(costs: Floats, smallest: int) -> npt.NDArray[np.int64]:
    """Assign each of C points to one of k clusters, at least ``smallest`` a cluster, at the least total cost.

    Args:
        costs: `(C, k)`.
        smallest: at most C // k.
    """
    from scipy.optimize import linear_sum_assignment

    points, clusters = costs.shape
    free = points - clusters * smallest
    assert free >= 0, (points, clusters, smallest)
    nearest = costs.argmin(1)
    columns = np.hstack([np.repeat(costs, smallest, axis=1), np.repeat(costs.min(1, keepdims=True), free, axis=1)])
    rows, chosen = linear_sum_assignment(columns)
    reserved = chosen // max(smallest, 1)
    assignment = np.where(chosen < clusters * smallest, reserved, nearest[rows])
    return assignment.astype(np.int64)


def _costs(features: Floats, centroids: Floats) -> Floats:
    costs: Floats = np.square(features[:, None] - centroids[None]).sum(2)
    return costs


def _centroids(features: Floats, assignment: npt.NDArray[np.int64], clusters: int) -> Floats:
    return np.stack([features[assignment == cluster].mean(0) for cluster in range(clusters)])
