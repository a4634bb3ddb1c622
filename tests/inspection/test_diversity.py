"""What clusters do for tasks, on classes whose answer is known."""

import numpy as np
import pytest

from datg.data.class_table import TableWriter
from datg.generation.clustering import read_clusters
from datg.inspection.diversity import describe_diversity, describe_spread, measure
from datg.storage.files import write_yaml

NUMBERS, EACH = 8, 30


@pytest.fixture
def clustered(tmp_path):
    """Makes a table whose class c lies at ``places[c]``, with a little noise, and two clusters of half of the classes each."""

    def act(places):
        rng = np.random.default_rng(0)
        with TableWriter(tmp_path, shape=(NUMBERS,), dtype="float32") as writer:
            for number, place in enumerate(places):
                for index in range(EACH):
                    example = (place + 0.01 * rng.normal(size=NUMBERS)).astype(np.float32)
                    writer.add(example, class_name=f"{number:02}", source=f"{number}/{index}", sha256=bytes(32))
            table = writer.finish({"importer": "test"})
        half = len(places) // 2
        write_yaml(tmp_path / "clusters.yaml", {"clusters": [list(table.names[:half]), list(table.names[half:])]})
        return table, read_clusters(tmp_path / "clusters.yaml", table.names, clusters=2, ways=3)

    return act


@pytest.fixture
def far_apart(clustered):
    """Two groups of six classes, ten apart along the first axis and about one along the others."""
    rng = np.random.default_rng(1)
    return clustered([np.r_[10.0 * (number >= 6), rng.normal(size=NUMBERS - 1)] for number in range(12)])


def test_variance_is_smaller_cluster_by_cluster_where_clusters_differ(far_apart):
    spread, _ = measure(*far_apart, ways=3, seed=0)
    assert spread.between > 0.7
    assert spread.stratified < 0.5 * spread.simple


def test_clusters_of_classes_that_are_alike_change_little(clustered):
    rng = np.random.default_rng(2)
    spread, _ = measure(*clustered([rng.normal(size=NUMBERS) for _ in range(12)]), ways=3, seed=0)
    assert spread.between < 0.5 and 0.5 < spread.stratified / spread.simple < 1.5


def test_mixtures_are_farther_from_real_tasks_than_real_tasks_are(far_apart):
    _, (real, any_two, across) = measure(*far_apart, ways=3, seed=0)
    assert [real.kind, across.kind] == ["real tasks", "mixtures across clusters"]
    assert real.mmd < any_two.mmd and real.mmd < across.mmd
    assert all(1 <= found.rank <= NUMBERS and found.distance > 0 for found in (real, any_two, across))
    assert any_two.distance < real.distance, "averages of two tasks lie nearer to each other"


def test_same_seed_same_result_other_seed_other_result(far_apart):
    first, again, other = (measure(*far_apart, ways=3, seed=seed) for seed in (0, 0, 1))
    assert first == again and first != other
    assert "Eq. 9: not larger" in describe_spread(first[0]) and "effective rank" in describe_diversity(first[1][0])


def test_the_embedding_is_what_is_measured(far_apart):
    plain, _ = measure(*far_apart, ways=3, seed=0)
    doubled, _ = measure(*far_apart, ways=3, seed=0, embed=lambda examples: 2 * examples.flatten(1))
    assert doubled.simple == pytest.approx(4 * plain.simple, rel=1e-4)
    assert doubled.between == pytest.approx(plain.between, rel=1e-4)
