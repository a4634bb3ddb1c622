import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from datg.data.catalog import Dataset
from datg.data.splits import Split
from datg.errors import ConfigError
from datg.generation.clustering import read_clusters
from datg.inspection.generated_tasks import generate_tasks
from datg.inspection.inspect import inspect
from tests.conftest import table_of

OPTIONS = {"ways": 2, "clusters": 2, "examples": 3, "tasks": 2, "seed": 0}


def dataset_of(shape=(3, 16, 16), base=6):
    table = table_of([5] * (base + 4), shape=shape)
    names = list(table.names)
    return Dataset("x", table, Split(protocol="file", base=names[:base], validation=names[base:-2], novel=names[-2:]))


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_pictures_get_sheets_by_part_generated_tasks_and_clusters(tmp_path):
    dataset = dataset_of()
    shown = inspect(dataset, tmp_path, **OPTIONS)
    assert [path.name for path in shown.files] == [
        "clusters.json", "base.png", "validation.png", "novel.png", "tasks.png",
    ]  # fmt: skip
    for path in shown.files[1:]:
        drawn = pixels(path)
        assert min(drawn.shape[:2]) > 100 and drawn.std() > 5
    assert list(shown.sizes) == ["base", "validation", "novel"] and shown.sizes["novel"] == dict.fromkeys(
        dataset.split.novel, 5
    )
    text = "\n".join(shown.lines())
    assert "base: 6 classes, 30 examples" in text and "2 clusters of the base classes" in text
    assert json.loads(json.dumps(shown.values()))["sizes"] == shown.sizes
    base = dataset.part("base").names
    again = read_clusters(tmp_path / "clusters.json", base, clusters=2, ways=2)
    assert (again.assignment == shown.clusters.assignment).all()


def test_the_pictures_on_a_sheet_are_those_of_the_class(tmp_path):
    dataset = dataset_of()
    for class_ in range(6):  # the class means differ, so each row of the sheet has its own colour
        dataset.table.examples[5 * class_ : 5 * class_ + 5] = 40 * class_
    inspect(dataset, tmp_path, **OPTIONS)
    sheet = pixels(tmp_path / "base.png")
    for class_ in range(1, 6):
        assert (sheet == 40 * class_).all(2).sum() > 1000


def test_names_with_dollars_are_names_and_no_formulas(tmp_path):
    dataset = dataset_of()
    names = ["price$5_$x", "a$b$c", *dataset.table.names[2:]]
    split = dataset.split.model_copy(update={"base": names[:6]})
    inspect(replace(dataset, table=replace(dataset.table, names=tuple(names)), split=split), tmp_path, **OPTIONS)
    assert pixels(tmp_path / "base.png").std() > 5


def test_cells_get_a_projection(tmp_path):
    shown = inspect(dataset_of(shape=(30,)), tmp_path, **OPTIONS)
    assert [path.name for path in shown.files] == ["clusters.json", "projection.png"]
    assert pixels(tmp_path / "projection.png").std() > 5


def test_generated_tasks_mix_two_clusters_by_their_share():
    dataset = dataset_of()
    base = dataset.part("base")
    from datg.generation.clustering import random_clusters

    clusters = random_clusters(base.names, clusters=3, ways=2, seed=0)
    tasks = generate_tasks(base, clusters, ways=2, number=20, seed=3)
    again = generate_tasks(base, clusters, ways=2, number=20, seed=3)
    owner = {
        base.examples[row].tobytes(): clusters.assignment[class_]
        for class_, start in enumerate(base.starts)
        for row in range(start, start + 5)
    }
    for task, same in zip(tasks, again, strict=True):
        assert task.clusters[0] != task.clusters[1] and 0 < task.share < 1
        np.testing.assert_allclose(task.mixture, task.share * task.first + (1 - task.share) * task.second, atol=1e-6)
        assert (task.mixture == same.mixture).all()
        for examples, cluster in zip((task.first, task.second), task.clusters, strict=True):
            assert {owner[(x * 255).round().astype(np.uint8).tobytes()] for x in examples} == {cluster}


def test_too_few_classes_for_two_clusters_are_shared_and_too_few_for_a_task_refused(tmp_path):
    shown = inspect(dataset_of(base=3), tmp_path, **OPTIONS)
    assert shown.clusters.cluster_masks().sum(1).min() >= 2 and "borrows" in "\n".join(shown.lines())
    with pytest.raises(ConfigError, match="`--ways` must be at most 3, the number of base classes"):
        inspect(dataset_of(base=3), tmp_path, **{**OPTIONS, "ways": 4})


def test_many_classes_take_several_sheets(tmp_path, monkeypatch):
    monkeypatch.setattr("datg.inspection.pictures.ROWS_OF_A_SHEET", 4)
    names = [path.name for path in inspect(dataset_of(), tmp_path, **OPTIONS).files]
    assert {"base-1.png", "base-2.png", "novel.png"} <= set(names)
