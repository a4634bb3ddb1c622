"""The paper's data sets from their published forms to a search, and across domains, by the commands."""

import json

import numpy as np
import pytest

from datg.trial.accuracies import load_evaluation
from tests.cli.test_commands import mlflow_runs, run
from tests.data.importing.raw_forms import WRITERS, dump, isic_pickles, mini

FEW = ["--trials", "2", "--set", "training.iterations=4", "--set", "training.eval_every=2", "--final-episodes", "30"]
FEW += ["--set", "evaluation.validation_tasks=20", "--no-report"]
SMALL_NET = ["--set", "backbone.filters=4"]
QUERIES = ["--set", "task.queries=3"]


def mini_imagenet(folder, take):
    """The three pickles with 6 pictures a class: 6 = 1 shot and 5 queries."""
    for part, classes in mini(take, each=6).items():
        name = {"base": "train", "validation": "val", "novel": "test"}[part]
        dump(np.stack([np.stack(found) for found in classes.values()]), folder / f"mini_imagenet_{name}.pkl")
    return folder


def dermnet(folder, take):
    dump({f"disease {i:03d}": np.stack(found) for i, found in enumerate(take(90, 4))}, folder / "Dermnet_all_84.pkl")
    return folder


def tabula_muris(folder, take):
    """Counts of cells of all 23 tissues, ten cell types in each."""
    import anndata
    import pandas
    import yaml
    from scipy import sparse

    from tests.search.conftest import SPACES

    groups = yaml.safe_load((SPACES / "tabula_muris.yaml").read_text())["import"]["groups"]
    rng = np.random.default_rng(0)
    tissues = [tissue for part in groups.values() for tissue in part]
    observed = [(f"type {kind}", tissue) for tissue in tissues for kind in range(10) for _ in range(4)]
    means = np.exp(rng.normal(1.5, 1.2, size=900))
    types = np.array([int(label.removeprefix("type ")) for label, _ in observed])
    programmes = np.where(rng.uniform(size=(10, 900)) < 0.15, rng.uniform(2, 12, size=(10, 900)), 1.0)
    counts = rng.poisson(means * programmes[types]).astype(np.float32)
    columns = pandas.DataFrame(
        observed,
        columns=["cell_ontology_class_reannotated", "tissue"],
        index=[f"cell {index}" for index in range(len(observed))],
    )
    folder.mkdir(parents=True)
    anndata.AnnData(sparse.csr_matrix(counts), obs=columns).write_h5ad(folder / "tabula-muris-comet.h5ad")
    return folder


def own_cells(folder, take):
    """A file of a user's own, for which there is no search space but the generic one."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    labels = np.repeat(np.arange(24), 5)
    np.savez(folder / "cells.npz", examples=rng.normal(size=(120, 30)) + labels[:, None] % 5, labels=labels)
    return folder / "cells.npz"


RANDOM = ["--base-classes", "12", "--validation-classes", "6", "--novel-classes", "6"]
PUBLISHED = {
    "mini_imagenet": (
        mini_imagenet,
        ["--min-examples", "6", "--queries", "3"],
        [*SMALL_NET, *QUERIES],
        "mini-imagenet-s",
    ),
    "isic": (
        lambda folder, take: WRITERS["isic-challenge"](folder, take).raw,
        ["--min-examples", "1", "--held-out", "0.4", "--queries", "1"],
        [*SMALL_NET, "--set", "task.queries=1"],
        "hold-out",
    ),
    "dermnet": (dermnet, ["--min-examples", "4", "--queries", "3"], [*SMALL_NET, *QUERIES], "dermnet-s"),
    "mine": (
        own_cells,
        ["--min-examples", "5", "--queries", "3", "--split", "random", *RANDOM],
        QUERIES,
        "random",
    ),
    "tabula_muris": (tabula_muris, ["--min-examples", "16", "--queries", "3"], QUERIES, "groups"),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PUBLISHED)
def test_each_data_set_is_imported_inspected_and_searched(name, tmp_path, take):
    write, options, settings, protocol = PUBLISHED[name]
    raw, root = write(tmp_path / "raw", take), tmp_path / "data"
    found = json.loads(run("import_data", name, raw, *options, "--json", cwd=tmp_path, data_root=root).stdout)
    assert found["split"]["protocol"] == protocol
    assert "clusters of the base classes" in run("inspect_data", name, cwd=tmp_path, data_root=root).stdout
    run("search", "--dataset", name, "--no-references", *FEW, *settings, cwd=tmp_path, data_root=root)
    (folder,) = (tmp_path / "runs").iterdir()
    for number in (0, 1):
        tested = load_evaluation(folder / "trials" / str(number) / "evaluation.parquet")
        assert len(tested.accuracies) == 30


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_train_on_one_data_set_and_test_on_another(tmp_path, take):
    root, cross = tmp_path / "data", ["--test-dataset", "dermnet"]
    for name, write in (("mini_imagenet", mini_imagenet), ("dermnet", dermnet)):
        run("import_data", name, write(tmp_path / name, take), *PUBLISHED[name][1], cwd=tmp_path, data_root=root)
    settings = [*FEW, *SMALL_NET, *QUERIES]
    run("search", "--dataset", "mini_imagenet", "--no-references", *cross, *settings, cwd=tmp_path, data_root=root)
    (folder,) = (tmp_path / "runs").iterdir()
    own = json.loads(
        run("evaluate", folder, "--episodes", "30", "--json", cwd=tmp_path, data_root=root).stdout
    )  # as the configuration says: on dermnet
    again = run("evaluate", folder, *cross, "--episodes", "30", "--json", cwd=tmp_path, data_root=root).stdout
    at_home = ["--test-dataset", "mini_imagenet", "--episodes", "30", "--json"]
    home = json.loads(run("evaluate", folder, *at_home, cwd=tmp_path, data_root=root).stdout)
    assert own["accuracy"] == json.loads(again)["accuracy"] != home["accuracy"]
    _, runs = mlflow_runs(tmp_path)
    for entry in runs:
        assert entry.data.tags["test_dataset"] == "dermnet" and entry.data.tags["dataset"] == "mini_imagenet"
        names = {item.dataset.name for item in entry.inputs.dataset_inputs}
        assert names == {"mini_imagenet-base", "mini_imagenet-validation", "dermnet-novel"}
    # The other data set is part of what a search began with.
    raw = dermnet(tmp_path / "other", lambda classes, each: take(classes, each)[::-1])
    run("import_data", "dermnet", raw, *PUBLISHED["dermnet"][1], cwd=tmp_path, data_root=root)
    refused = run("search", "--resume", folder.name, cwd=tmp_path, data_root=root, code=4)
    assert "data tested on.fingerprint: " in refused.stderr and "--allow-change" in refused.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_isic_is_trained_on_all_base_examples_and_with_a_class_left_out(tmp_path, take):
    root, raw = tmp_path / "data", isic_pickles(tmp_path / "raw", take).raw
    options = ["--min-examples", "1", "--held-out", "0.4", "--queries", "1"]
    run("import_data", "isic", raw, *options, cwd=tmp_path, data_root=root)
    fold = ["--protocol", "leave-one-out", "--left-out", "BKL", "--ways", "2"]
    said = run("import_data", "isic_without_bkl", raw, *options, *fold, cwd=tmp_path, data_root=root).stdout
    assert "note: validation tells the left-out class BKL from new examples of one trained class" in said
    space = str((tmp_path / "isic.yaml").absolute())
    (tmp_path / "isic.yaml").write_text(
        "fixed:\n  dataset: isic\n  task: {ways: 2, shots: 1, queries: 1}\n  backbone: {name: conv4, filters: 4}\n"
        "  training: {iterations: 4, eval_every: 2}\n  evaluation: {validation_tasks: 20, test_tasks: 30}\n"
    )
    trained = run("train", space, "--all-base-examples", "--json", cwd=tmp_path, data_root=root)
    assert "validation examples are trained on" in trained.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-all-base-examples")
    from datg.storage.checkpoint import load_checkpoint

    _, info = load_checkpoint(folder / "seed-0" / "best.safetensors")
    assert info["iteration"] == 4 and info["split"]["protocol"] == "hold-out, all base examples"
    refused = run("search", "--dataset", "isic_without_bkl", "--space", space, cwd=tmp_path, data_root=root, code=2)
    assert "strategy.small_clusters: overlap" in refused.stderr
    shared = ["--set", "strategy.small_clusters=overlap", "--trials", "1"]
    run("search", "--dataset", "isic_without_bkl", "--space", space, *shared, cwd=tmp_path, data_root=root)


def test_a_test_data_set_of_another_shape_is_refused_at_once(tmp_path, take):
    root = tmp_path / "data"
    raw = WRITERS["class-pickles"](tmp_path / "raw", take).raw
    sizes = ["--base-classes", "5", "--validation-classes", "2", "--novel-classes", "2", "--min-examples", "4"]
    tasks = ["--ways", "2", "--queries", "3"]
    run("import_data", "skin", raw, *sizes, *tasks, cwd=tmp_path, data_root=root)
    found = run("search", "--dataset", "glyphs", "--test-dataset", "skin", cwd=tmp_path, data_root=root, code=2)
    assert "must have examples like those of glyphs, uint8 [3, 20, 20], but skin has uint8 [3, 84, 84]" in found.stderr
    assert not (tmp_path / "runs").exists()
