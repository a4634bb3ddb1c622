import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans

from datg.errors import ConfigError
from datg.generation.clustering import (
    cheapest_assignment,
    cluster_classes,
    constrained_kmeans,
    raw_features,
    standardise,
)
from tests.conftest import table_of


def clustered(table, *, clusters, ways, seed=0):
    return cluster_classes(table.names, raw_features(table), clusters=clusters, ways=ways, source="raw", seed=seed)


@pytest.mark.parametrize(("classes", "ways", "clusters"), [(12, 5, 2), (4, 2, 2), (30, 5, 6), (30, 5, 3), (20, 5, 2)])
def test_every_cluster_has_enough_classes_for_a_task(classes, ways, clusters):
    found = clustered(table_of([6] * classes), clusters=clusters, ways=ways, seed=0)
    sizes = np.bincount(found.assignment, minlength=clusters)
    assert sizes.min() >= ways and sizes.sum() == classes and found.number == clusters
    if classes == clusters * ways:
        assert (sizes == ways).all()


def test_too_many_clusters_are_refused_by_name():
    with pytest.raises(
        ConfigError, match="`strategy.clusters` must be at most 6 for 30 base classes and 5 ways, got 8"
    ):
        clustered(table_of([6] * 30), clusters=8, ways=5, seed=0)


def test_plain_kmeans_with_large_clusters_is_left_as_it_is():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(centre, 0.3, size=(8, 3)) for centre in (0, 4, 9)])
    found, moved = constrained_kmeans(features, clusters=3, smallest=5, seed=0)
    plain = KMeans(3, n_init=10, random_state=0).fit(features).labels_
    assert moved == 0
    assert len({(int(a), int(b)) for a, b in zip(found, plain, strict=True)}) == 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("points", "clusters", "smallest"), [(6, 2, 3), (7, 2, 3), (7, 3, 2), (8, 2, 1)])
def test_the_assignment_is_as_cheap_as_brute_force(points, clusters, smallest, seed):
    costs = np.random.default_rng(seed).random((points, clusters))
    found = cheapest_assignment(costs, smallest)
    total = costs[np.arange(points), found].sum()
    best = min(
        costs[np.arange(points), list(labels)].sum()
        for labels in itertools.product(range(clusters), repeat=points)
        if np.bincount(labels, minlength=clusters).min() >= smallest
    )
    assert np.bincount(found, minlength=clusters).min() >= smallest
    assert total == pytest.approx(best)


def test_classes_that_the_size_rule_moves_are_counted():
    features = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [10.0]])
    assignment, moved = constrained_kmeans(features, clusters=2, smallest=3, seed=0)
    assert np.bincount(assignment).tolist() == [3, 3] and moved >= 1


def test_features_are_colour_thumbnails_of_the_class_means():
    table = table_of([6] * 3)
    features = raw_features(table)
    assert features.shape == (3, 3 * 4 * 4)
    mean = table.examples[:6].astype(float).mean(0)
    expected = mean.reshape(3, 4, 4, 4, 4).mean((2, 4))  # 16 x 16 in cells of 4 x 4
    np.testing.assert_allclose(features[0], expected.ravel())


def test_standardised_features_have_unit_deviation_and_constants_become_zero():
    features = np.column_stack([np.arange(5.0), np.full(5, 7.0)])
    found = standardise(features)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(0), [1, 0])


def test_the_groups_of_glyphs_are_found(glyphs):
    found = clustered(glyphs.part("base"), clusters=4, ways=5, seed=0)
    groups = found.assignment.reshape(4, 10)
    assert all(len(set(group)) == 1 for group in groups) and len(set(groups[:, 0])) == 4


def test_the_seed_decides_the_clusters():
    table = table_of([6] * 20)
    first, again = (clustered(table, clusters=3, ways=5, seed=3) for _ in range(2))
    assert (first.assignment == again.assignment).all()


def overlapping(table, *, clusters, ways):
    return cluster_classes(
        table.names, raw_features(table), clusters=clusters, ways=ways, source="raw", seed=0, smallest=1
    )


@pytest.mark.parametrize(("classes", "ways", "clusters"), [(3, 2, 2), (3, 2, 3), (7, 5, 3), (12, 5, 2)])
def test_clusters_that_are_too_small_borrow_the_nearest_classes(classes, ways, clusters):
    table = table_of([6] * classes)
    found = overlapping(table, clusters=clusters, ways=ways)
    members = found.cluster_masks()
    assert members.shape == (clusters, classes) and members.sum(1).min() >= ways
    features = standardise(raw_features(table))
    for cluster, borrowed in enumerate(found.borrowed):
        own = np.flatnonzero(found.assignment == cluster)
        assert len(borrowed) == max(ways - len(own), 0)
        distance = np.linalg.norm(features - features[own].mean(0), axis=1)
        others = sorted(np.flatnonzero(found.assignment != cluster), key=lambda index: distance[index])
        assert list(borrowed) == others[: len(borrowed)]
        assert set(np.flatnonzero(members[cluster])) == {*own, *borrowed}
    assert ("borrowed" in found.describe()) == any(found.borrowed)


def test_large_clusters_borrow_nothing():
    table = table_of([6] * 12)
    found = clustered(table, clusters=2, ways=5)
    assert found.borrowed == ((), ())
    assert (found.cluster_masks() == (np.arange(2)[:, None] == found.assignment)).all()
