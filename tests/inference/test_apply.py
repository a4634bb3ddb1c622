"""`datg apply` on files as users have them, and on what is wrong with them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datg
from datg.cli.destinations import check_destinations
from datg.data.importing.images import decode_image
from datg.errors import ConfigError, DataError
from datg.inference.apply import Share
from datg.inference.apply import apply as apply_model
from datg.inference.load import load_model
from tests.cli.test_commands import command, environment
from tests.cli.warm_start import run_command

COUNTS = {"theta": 3, "zhe": 1, "omega": 2}


@pytest.fixture
def place(tmp_path, glyphs):
    """A folder with class folders `support` and `queries`, of novel classes, in several forms of pictures."""
    novel = glyphs.part("novel")
    for index, (name, count) in enumerate(COUNTS.items()):
        rows = novel.rows_of_class(index)
        for part, chosen in (("support", rows[:count]), ("queries", rows[count : count + 4])):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number, row in enumerate(chosen):
                save(novel.examples[row], folder / f"{name}-{number}.png")
    return tmp_path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def save(picture: np.ndarray, path: Path) -> None:
    Image.fromarray(picture.transpose(1, 2, 0)).save(path)


@pytest.fixture
def apply(place, trained, data_root):
    def act(*arguments, model=None, code=0):
        called = command("apply", model or trained("protonet"), *arguments)
        found = run_command(called, cwd=place, env=environment(data_root))
        assert found.returncode == code, found.stdout + found.stderr
        return found

    return act


@pytest.fixture
def answered(place, trained, data_root):
    """What the command does, in this process: its answers, and what it says."""

    def act(support, *queries, model=None, said=None):
        loaded = load_model(model or trained("protonet"), data_root=data_root)
        notify = (lambda text: None) if said is None else said.append
        return apply_model(loaded, place / support, [place / query for query in queries], notify=notify)

    return act


def answers(place, name="predictions.csv"):
    with (place / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_name(found):
    """The probabilities of each query by the name of its file."""
    return {
        Path(source).name: list(row)
        for source, row in zip(found.queries.sources, found.predictions.probabilities, strict=True)
    }


def test_class_folders_are_scored_and_files_are_answered_alike(apply, place):
    told = json.loads(apply("support", "queries", "--json", "--review", "sheet.png").stdout)
    assert told["classes"] == sorted(COUNTS) and told["queries"] == told["accuracy"]["of"] == 12
    assert np.array(told["confusion"]).sum(1).tolist() == [4, 4, 4]
    rows = answers(place)
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert told["accuracy"]["value"] == pytest.approx(right / 12) == np.trace(told["confusion"]) / 12
    assert told["support by the others"]["of"] == 5, "of theta three, of omega two; zhe has one alone"
    for row in rows:
        every = {name: float(row[f"probability of {name}"]) for name in told["classes"]}
        assert sum(every.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(every, key=every.get) and float(row["probability"]) == max(every.values())
    with Image.open(place / "sheet.png") as sheet:
        assert sheet.width > 500


def test_picture_files_are_answered_as_folders_are(answered, place):
    files = answered("support", *sorted(path.relative_to(place) for path in (place / "queries").glob("*/*.png")))
    assert files.accuracy is None and by_name(files) == by_name(answered("support", "queries"))


def test_a_csv_and_an_npz_say_the_same_as_folders(answered, place):
    expected = list(by_name(answered("support", "queries")).values())
    for part in ("support", "queries"):
        lines = [f"{path},{path.parent.name}" for path in sorted((place / part).glob("*/*"))]
        (place / f"{part}.csv").write_text("\n".join(["path,label", *lines]) + "\n", encoding="utf-8")
        arrays = {
            folder.name: np.stack([pixels(path) for path in sorted(folder.iterdir())])
            for folder in sorted((place / part).iterdir())
        }
        np.savez(place / f"{part}.npz", **arrays)
    np.savez(place / "unlabelled.npz", examples=np.concatenate(list(arrays.values())))
    for support, queries, of in (
        ("support.csv", "queries.csv", 12),
        ("support.npz", "queries.npz", 12),
        ("support.npz", "unlabelled.npz", None),
    ):
        found = answered(support, queries)
        assert (found.accuracy and found.accuracy.of) == of
        assert found.predictions.probabilities.tolist() == expected


def test_what_cannot_be_read_is_listed_and_the_rest_is_answered(apply, place):
    (place / "queries" / "zhe" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (place / "queries" / "zhe" / "notes.txt").write_text("no picture")
    shutil.copy(place / "support" / "theta" / "theta-0.png", place / "queries" / "theta" / "again.png")
    found = apply("support", "queries", code=2)
    assert "zhe/broken.png is left out" in found.stderr and "zhe/notes.txt is left out: not a picture" in found.stderr
    assert "theta/again.png is left out: it is in SUPPORT, too" in found.stderr
    assert len(answers(place)) == 12


def test_pictures_beside_folders_are_all_answered_and_none_is_scored(answered, place):
    shutil.move(place / "queries" / "zhe" / "zhe-0.png", place / "queries" / "loose.png")
    said = []
    found = answered("support", "queries", said=said)
    assert "so no folder is taken for a class" in said[-1] and found.accuracy is None
    assert len(found.rows()) == 12


def test_an_unreadable_support_picture_is_listed(answered, place):
    (place / "support" / "theta" / "broken.png").write_bytes(b"")
    shutil.copy(place / "support" / "theta" / "broken.png", place / "queries" / "theta" / "broken.png")
    assert answered("support", "queries").refused == {
        "support example theta/broken.png": "empty file",
        "query theta/broken.png": "empty file",
    }


def test_folders_that_are_no_classes_are_answered_but_not_scored(answered, place):
    (place / "queries" / "theta").rename(place / "queries" / "patient 7")
    found = answered("support", "queries")
    assert found.remarks == ["labels outside SUPPORT's classes are not counted: patient 7"]
    assert found.accuracy.of == 8 and len(found.rows()) == 12


def test_folders_called_as_parts_of_a_split_are_no_classes(answered, place):
    for folder in sorted((place / "queries").iterdir()):
        for picture in folder.iterdir():
            (place / "queries" / "test").mkdir(exist_ok=True)
            picture.rename(place / "queries" / "test" / f"{folder.name}-{picture.name}")
        folder.rmdir()
    found = answered("support", "queries")
    assert found.accuracy is None and len(found.rows()) == 12


MISTAKES = {
    "one class": (lambda place: keep(place, "theta"), "SUPPORT must have at least two classes, got theta"),
    "an empty class": (lambda place: (place / "support" / "none").mkdir(), "has none of none"),
    "unlabelled support": (lambda place: flatten(place), "must name the class of every example"),
    "missing": (lambda place: shutil.rmtree(place / "queries"), "queries does not exist"),
    "no queries": (lambda place: clear(place / "queries"), "holds no examples"),
    "all unreadable": (lambda place: spoil(place / "queries"), "none of the queries can be used: .*not a picture"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name, answered, place):
    make, said = MISTAKES[name]
    make(place)
    with pytest.raises(DataError, match=said):
        answered("support", "queries")


def test_arrays_of_another_kind_are_refused(answered, place):
    grey = np.zeros((2, 20, 20, 1), np.uint8)
    np.savez(place / "grey.npz", a=grey, b=grey)
    with pytest.raises(DataError, match=r"must have the shape \(pictures, height, width, 3\)"):
        answered("grey.npz", "queries")
    np.savez(place / "cells.npz", a=np.zeros((2, 7)), b=np.ones((2, 7)))
    with pytest.raises(DataError, match=r"must hold pictures \(n, height, width, 3\), as the model was trained on"):
        answered("cells.npz", "queries")


OUTPUTS = {
    "queries/theta/theta-0.csv": "lies in what is read, and may overwrite it",
    "answers.png": "must be a file whose name ends in .csv",
    "/proc/nowhere/a.csv": "`--out` /proc/nowhere/a.csv cannot be written",
    "folder.csv": "must be a file whose name ends in .csv, got",
}


@pytest.mark.parametrize("path", OUTPUTS)
def test_an_output_that_cannot_be_is_refused_before_anything_is_computed(path, place):
    (place / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=OUTPUTS[path]):
        check_destinations({"--out": (place / path, ".csv")}, [place / "support", place / "queries"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--save-model", "support"], "`--save-model` support holds something already"),
        (["--counts", "Y"], "`counts` must"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, said, apply, place):
    found = apply("support", "queries", *options, code=2)
    assert said in found.stderr and "Traceback" not in found.stderr and not (place / "predictions.csv").exists()


def keep(place, name):
    for folder in (place / "support").iterdir():
        if folder.name != name:
            shutil.rmtree(folder)


def flatten(place):
    for path in list((place / "support").glob("*/*")):
        path.rename(place / "support" / path.name)
    for folder in [path for path in (place / "support").iterdir() if path.is_dir()]:
        folder.rmdir()


def clear(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def spoil(folder):
    for path in folder.glob("*/*"):
        path.write_bytes(b"no picture")


def test_what_is_no_model_is_told(tmp_path, trained, data_root, answered):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"holds no best\.safetensors"):
        load_model(tmp_path / "empty")
    with pytest.raises(ConfigError, match="is no checkpoint of this package or is damaged"):
        load_model(tmp_path / "file")
    with pytest.raises(ConfigError, match="must have 5 classes, one per output of maml's classifier, got 3"):
        answered("support", "queries", model=trained("maml"))


def test_a_share_has_wilsons_interval():
    assert Share(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-3)  # Newcombe 1998, by hand
    assert Share(0, 12).interval[0] == 0.0 and 0 < Share(0, 12).interval[1] < 0.3
    assert Share(12, 12).interval[1] == pytest.approx(1.0)


def test_pictures_are_prepared_as_at_import(place, trained):
    path = next((place / "queries").glob("*/*.png"))
    deep = place / "deep.png"
    Image.fromarray((np.arange(400, dtype=np.uint16) * 100).reshape(20, 20)).save(deep)
    assert decode_image(path, size=20).shape == (3, 20, 20)
    bright, dark = (decode_image(deep, size=20, white=white).mean() for white in (40_000, 65_535))
    assert bright > dark


@pytest.mark.slow
def test_cells_are_prepared_and_classified_from_new_files(tmp_path, apply, place):
    import anndata

    from datg.data.import_settings import ImportSettings
    from datg.data.importing.run import ImportRequest, import_raw
    from tests.data.importing.test_h5ad import COLUMNS, TISSUES, standard

    path, counts, *_ = standard(tmp_path / "raw" / "cells.h5ad")
    settings = {**COLUMNS, "protocol": "groups", "groups": TISSUES, "min_examples": 2}
    request = ImportRequest(name="cells", raw=path, settings=ImportSettings.from_dict(settings, source="test"))
    dataset = import_raw(request, tmp_path / "data", notify=lambda text: None, progress=lambda *_: None)
    config = {
        "dataset": "cells",
        "task": {"ways": 2, "shots": 1, "queries": 2},
        "backbone": {"name": "fc2", "width": 8},
        "strategy": {"name": "vanilla"},
        "training": {"iterations": 2, "eval_every": 1},
        "evaluation": {"validation_tasks": 10},
    }
    datg.run_trial(datg.TrialConfig.from_dict(config), dataset, folder=tmp_path / "trial")
    cells = anndata.read_h5ad(path)
    cells[8:40].copy().write_h5ad(place / "support.h5ad")
    cells[40:60].copy().write_h5ad(place / "queries.h5ad")
    cells[5:7].copy().write_h5ad(place / "poor.h5ad")
    np.savez(place / "cells.npz", a=counts[:2], b=counts[2:4])
    given = ["--data-root", tmp_path / "data"]
    told = json.loads(apply("support.h5ad", "queries.h5ad", "--json", *given, model=tmp_path / "trial").stdout)
    assert told["accuracy"] is None and told["queries"] == 20 and told["classes"] == ["B cell", "T cell", "hepatocyte"]
    found = apply("support.h5ad", "queries.h5ad", "--label-column", "label", *given, model=tmp_path / "trial")
    assert "accuracy" in found.stdout
    assert (
        "none of the queries can be used"
        in apply("support.h5ad", "poor.h5ad", *given, model=tmp_path / "trial", code=2).stderr
    )
    assert (
        "shows pictures, but the model is of cells"
        in apply("support.h5ad", "queries.h5ad", "--review", "x.png", *given, model=tmp_path / "trial", code=2).stderr
    )
    assert (
        "the model was trained on counts of named genes: give an .h5ad"
        in apply("cells.npz", "queries.h5ad", *given, model=tmp_path / "trial", code=2).stderr
    )
