"""What can be wrong with each raw form: one sentence that lists every offender, and no half data set."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datg.data.class_table import TableWriter
from datg.data.importing import assembly
from datg.data.importing.run import make_request
from datg.data.splits import TaskSize
from datg.errors import ConfigError, DataError
from tests.data.importing.raw_forms import WRITERS, dump, isic_pickles, save, stock

GENERATED = stock(None)


def unlink(*names):
    return lambda raw: [(raw / name).unlink() for name in names]


def overwrite(name, content):
    def act(raw):
        (raw / name).write_bytes(content)

    return act


def replaced(name, old, new, count=1):
    def act(raw):
        text = (raw / name).read_text()
        assert old in text
        (raw / name).write_text(text.replace(old, new, count))

    return act


def repickled(name, change):
    def act(raw):
        value = pickle.loads((raw / name).read_bytes())
        dump(change(value), raw / name)

    return act


def both(*acts):
    return lambda raw: [act(raw) for act in acts]


def append(name, text):
    def act(raw):
        with (raw / name).open("a") as file:
            file.write(text)

    return act


def truncated(name, size):
    return lambda raw: (raw / name).write_bytes((raw / name).read_bytes()[:size])


def remove(*names):
    return lambda raw: [shutil.rmtree(raw / name) for name in names]


def rename(**names):
    return lambda raw: [(raw / old.replace("_", " ")).rename(raw / new) for old, new in names.items()]


def picture_at(name):
    return lambda raw: Image.new("RGB", (8, 8)).save(raw / name)


TRUTH = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"
PICTURES = "ISIC2018_Task3_Training_Input"
CASES = {
    # miniImageNet
    "array-pickles: missing": ("array-pickles", unlink("mini_imagenet_val.pkl"), "missing: mini_imagenet_val.pkl"),
    "array-pickles: a web page": (
        "array-pickles",
        overwrite("mini_imagenet_test.pkl", b"<!DOCTYPE html>"),
        "a web page",
    ),
    "array-pickles: two wrong ones": (
        "array-pickles",
        both(
            repickled("mini_imagenet_train.pkl", lambda a: a[..., 0]),
            repickled("mini_imagenet_test.pkl", lambda a: a.astype(np.float32)),
        ),
        r"mini_imagenet_train.pkl must hold one array .* got \(64, 3, 84, 84\); .*mini_imagenet_test.pkl: .* must be uint8",
    ),
    "cache-pickles: missing": (
        "cache-pickles",
        unlink("mini-imagenet-cache-val.pkl"),
        "missing: mini-imagenet-cache-val",
    ),
    "cache-pickles: rows": (
        "cache-pickles",
        repickled("mini-imagenet-cache-val.pkl", lambda c: {**c, "image_data": c["image_data"][:-2]}),
        "rows in class_dict that are not among its 46 pictures",
    ),
    "cache-pickles: two labels": (
        "cache-pickles",
        repickled(
            "mini-imagenet-cache-val.pkl", lambda c: {**c, "class_dict": {**c["class_dict"], "n1": [0], "n2": [0, 1]}}
        ),
        "gives 3 pictures two labels",
    ),
    "cache-pickles: unlabelled": (
        "cache-pickles",
        repickled(
            "mini-imagenet-cache-val.pkl", lambda c: {**c, "class_dict": dict(list(c["class_dict"].items())[1:])}
        ),
        "has 3 pictures without a label",
    ),
    "cache-pickles: keys": (
        "cache-pickles",
        repickled("mini-imagenet-cache-val.pkl", lambda c: {"images": c["image_data"]}),
        "must hold a dict with image_data and class_dict",
    ),
    "csv-lists: missing": ("csv-lists", unlink("val.csv", "test.csv"), "missing: val.csv, test.csv"),
    "csv-lists: columns": (
        "csv-lists",
        replaced("val.csv", "filename,label", "file,name"),
        "lacks the columns filename, label; it has",
    ),
    "csv-lists: no text": ("csv-lists", overwrite("val.csv", b"\xff\xfe\x00"), "val.csv cannot be read"),
    "csv-lists: an empty label": ("csv-lists", append("val.csv", "x.png,\n"), "must have a value in .* missing on: 50"),
    "csv-lists: class twice": (
        "csv-lists",
        lambda raw: append("test.csv", (raw / "val.csv").read_text().split("\n", 1)[1])(raw),
        "may stand in one list of .* only",
    ),
    # ISIC
    "isic-challenge: no truth": ("isic-challenge", unlink(TRUTH), "must hold ISIC2018_Task3_Training_GroundTruth"),
    "isic-challenge: columns": ("isic-challenge", replaced(TRUTH, "AKIEC", "AK"), "lacks the columns AKIEC"),
    "isic-challenge: not one-hot": (
        "isic-challenge",
        both(replaced(TRUTH, "0.0,1.0,0.0", "1.0,1.0,0.0"), replaced(TRUTH, "1.0" + 6 * ",0.0", "0.0" + 6 * ",0.0")),
        r"must hold one 1 and zeros; wrong: ISIC_0024306, ISIC_0024318",
    ),
    "isic-challenge: all that does not fit": (
        "isic-challenge",
        both(
            unlink(f"{PICTURES}/ISIC_0024306.png", f"{PICTURES}/ISIC_0024307.png"),
            picture_at(f"{PICTURES}/ISIC_9999999.png"),
            append(TRUTH, "ISIC_0024310,1.0,0.0,0.0,0.0,0.0,0.0,0.0\n"),
        ),
        r"1 pictures with two labels: ISIC_0024310 \(NV, MEL\); 2 labels without a picture: ISIC_0024306, ISIC_0024307; "
        "1 pictures without a label: ISIC_9999999.png",
    ),
    "ham10000: no pictures": ("ham10000", remove("HAM10000_images_part_1"), "labels without a picture"),
    "ham10000: columns": ("ham10000", replaced("HAM10000_metadata.csv", "dx,", "diagnosis,"), "lacks the columns dx"),
    "array-pickles: all damaged ones at once": (
        "array-pickles",
        both(*(truncated(f"mini_imagenet_{name}.pkl", 5000) for name in ("train", "test"))),
        "mini_imagenet_train.pkl is no pickle.*mini_imagenet_test.pkl is no pickle",
    ),
    "cache-pickles: rows of no list": (
        "cache-pickles",
        repickled("mini-imagenet-cache-val.pkl", lambda c: {**c, "class_dict": {"n": [[0, 1], [2]]}}),
        "rows in class_dict that are not among its 48 pictures",
    ),
    "csv-lists: all wrong ones at once": (
        "csv-lists",
        both(replaced("val.csv", "filename", "file"), replaced("test.csv", "label", "class")),
        "(?s)val.csv lacks the columns filename.*test.csv lacks the columns label",
    ),
    "csv-lists: a quotation mark": (
        "csv-lists",
        lambda raw: (raw / "val.csv").write_text('filename,label\n"' + "x" * 140_000),
        "is not valid CSV",
    ),
    # DermNet
    "class-pickles: a number and a text": (
        "class-pickles",
        repickled("Dermnet_all_84.pkl", lambda d: {1: d["disease 000"], "1": d["disease 001"]}),
        "has a class both as a number and as text",
    ),
    "folder: names that are no text": (
        "folder",
        lambda raw: (raw / "class 0").rename(os.fsdecode(os.fsencode(raw) + b"/cl\xe9")),
        r"must be printable text .* these are not: 'cl.udce9'",
    ),
    "folder: a reserved name": (
        "folder",
        rename(class_0="x (held out)"),
        "may not end in `.held out.`, but these do: x",
    ),
    "class-pickles: shapes": (
        "class-pickles",
        repickled(
            "Dermnet_all_84.pkl", lambda d: {**d, "a": d["disease 000"][0], "b": d["disease 000"] / 255.0, "c": [1]}
        ),
        r"class a: must have the shape .*; .* class b: must be uint8 .* got float64; .* class c: must be an array",
    ),
    "class-pickles: truncated": ("class-pickles", truncated("Dermnet_all_84.pkl", 5000), "truncated or damaged"),
    "class-pickles: no dict": (
        "class-pickles",
        overwrite("Dermnet_all_84.pkl", pickle.dumps([1])),
        "must hold a dict of class names",
    ),
    "class-pickles: case": (
        "class-pickles",
        repickled(
            "Dermnet_all_84.pkl", lambda d: {**d, "Disease 001": d["disease 001"], "DISEASE 002": d["disease 002"]}
        ),
        "Unicode form, but these do not: 'DISEASE 002' = 'disease 002', 'Disease 001' = 'disease 001'",
    ),
    "split-folders: class twice": (
        "split-folders",
        lambda raw: save([np.zeros((8, 8, 3), np.uint8)], raw / "val" / next((raw / "train").iterdir()).name),
        "may stand in one of train, val, test only",
    ),
    "super-classes: nothing": ("super-classes", remove("train", "test"), "must hold train or test"),
    "folder: parts": (
        "folder",
        both(rename(class_0="train", class_1="test"), remove(*(f"class {i}" for i in range(2, 6)))),
        "which are not classes",
    ),
    "folder: case": ("folder", rename(class_0="CLASS 1"), "'CLASS 1' = 'class 1'"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_raw_files_is_told_and_nothing_is_left(case, tmp_path, bring_in):
    form, break_it, message = CASES[case]
    written = WRITERS[form](tmp_path / "raw", GENERATED)
    break_it(written.raw)
    with pytest.raises(DataError, match=message):
        bring_in(written.raw, form=form, **written.settings)
    assert not any((tmp_path / "data").iterdir())


def npz_of(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_groups_that_a_split_puts_into_several_parts_are_told(tmp_path, bring_in):
    rng = np.random.default_rng(0)
    examples, labels = rng.normal(size=(48, 4)), np.repeat(np.arange(6), 8)
    patients = np.array([f"patient {index}" for index in np.tile(np.arange(8), 6)])
    arrays = {"examples": examples, "labels": labels, "groups": patients}
    dataset = bring_in(npz_of(tmp_path / "x.npz", **arrays))
    assert any(
        "8 groups of examples (such as patients) stand in several parts" in line for line in dataset.split.remarks
    )
    own = arrays | {"groups": np.array([f"patient {index}" for index in range(48)])}
    assert not bring_in(npz_of(tmp_path / "y.npz", **own)).split.remarks


CELLS = np.ones((12, 5))
NPZ_CASES = {
    "objects": ({"examples": np.array([{}, 1], dtype=object), "labels": np.arange(2)}, "examples holds Python objects"),
    "no labels": ({"examples": CELLS}, "lacks labels"),
    "another array": ({"examples": CELLS, "labels": np.arange(12), "names": CELLS}, "holds names beside"),
    "labels of another length": ({"examples": CELLS, "labels": np.arange(3)}, r"one whole number .* got int64 \(3,\)"),
    "labels with fractions": ({"examples": CELLS, "labels": np.ones(12)}, "one whole number or text"),
    "NaN": ({"examples": np.where(np.eye(12, 5) > 0, np.nan, 1), "labels": np.arange(12)}, "NaN or infinity"),
    "float pictures": ({"a": np.zeros((3, 8, 8, 3))}, "a: must be uint8"),
    "grey pictures": ({"a": np.zeros((3, 8, 8), np.uint8)}, r"must have the shape \(pictures, height, width, 3\)"),
    "cells of two lengths": ({"a": CELLS, "b": CELLS[:, :3]}, "must be equally long"),
    "no numbers": ({"a": np.zeros((5, 0))}, r"a: must be numbers, got float64 \(5, 0\)"),
    "labels in Latin-1": (
        {"examples": CELLS, "labels": np.array([b"caf\xe9"] * 12)},
        "labels and groups must be text in UTF-8",
    ),
    "texts": ({"a": np.full((3, 2), "x")}, "a: must be numbers"),
}


@pytest.mark.parametrize("case", NPZ_CASES)
def test_what_is_wrong_with_an_npz_is_told(case, tmp_path, bring_in):
    arrays, message = NPZ_CASES[case]
    with pytest.raises(DataError, match=message):
        bring_in(npz_of(tmp_path / "x.npz", **arrays))
    assert not any((tmp_path / "data").iterdir())


@pytest.mark.parametrize("name", ["x.npz", "x.zip", "x.pkl", "x.h5ad", "x.tar.gz"])
def test_a_web_page_saved_under_any_name_is_told(name, tmp_path, bring_in):
    (tmp_path / name).write_text("<!DOCTYPE html><html>quota exceeded</html>")
    with pytest.raises(DataError, match=r"web page|is no AnnData file"):
        bring_in(tmp_path / name, label_column="x")
    assert not any((tmp_path / "data").iterdir())


def test_files_of_no_form_are_told_with_the_known_forms(tmp_path, bring_in):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"is of no known form; name one with --form \(array-pickles: pickled arrays"):
        bring_in(tmp_path / "raw")


def test_tasks_that_are_wanted_but_not_possible_are_told_with_every_class(tmp_path, bring_in):
    raw = WRITERS["folder"](tmp_path / "raw", GENERATED).raw
    with pytest.raises(DataError) as caught:
        bring_in(raw, task=TaskSize(ways=3, shots=1, queries=4))
    for said in (
        "base has 2 classes for 3 ways",
        "novel classes with fewer than 1 + 4",
        "--ways",
        "--queries) to at most 3",
    ):
        assert said in str(caught.value)
    assert not any((tmp_path / "data").iterdir())
    bring_in(raw, task=TaskSize(ways=2, shots=1, queries=3))


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, bring_in, monkeypatch):
    raw = WRITERS["folder"](tmp_path / "raw", GENERATED).raw
    monkeypatch.setattr(assembly.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match=r"needs 0.07 GB while it is written, but only 0.00 GB are free"):
        bring_in(raw)
    assert not any((tmp_path / "data").iterdir())


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, bring_in, monkeypatch):
    raw = WRITERS["folder"](tmp_path / "raw", GENERATED).raw
    first = bring_in(raw).table.fingerprint
    add = TableWriter.add

    def full(self, example, **values):
        if len(self._sources) == 9:
            raise OSError(28, "No space left on device")
        add(self, example, **values)

    monkeypatch.setattr(TableWriter, "add", full)
    for name in ("mine", "other"):
        with pytest.raises(DataError, match="data has no room left .* choose another --data-root"):
            bring_in(raw, name=name, image_size=32)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["mine"]
    assert first[:16] in {path.stem for path in (tmp_path / "data" / "mine").iterdir()}


def test_two_imports_of_one_data_set_do_not_meet(tmp_path, bring_in):
    from filelock import FileLock

    raw = WRITERS["folder"](tmp_path / "raw", GENERATED).raw
    place = tmp_path / "data" / ".importing-mine"
    place.mkdir(parents=True)
    with FileLock(place / "lock"), pytest.raises(ConfigError, match="is being imported by another process"):
        bring_in(raw)


def test_a_class_list_must_fit_the_files(tmp_path, bring_in):
    raw = WRITERS["super-classes"](tmp_path / "raw", GENERATED).raw
    path = tmp_path / "classes.yaml"
    for text, message in (
        ("acne: [acne-cystic, acne-rare]", "names stems that no file has: acne-rare"),
        ("a: [acne-cystic]\nb: [acne-cystic]", "names stems twice: acne-cystic"),
        ("a: acne-cystic", "must map class names to lists"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            bring_in(raw, class_list=path)


def test_a_class_of_both_isic_pickles_is_told(tmp_path, bring_in):
    raw = isic_pickles(tmp_path / "raw", GENERATED).raw
    train = pickle.loads((raw / "ISIC_train.pkl").read_bytes())
    dump({"NV": train["NV"], "DF": train["MEL"]}, raw / "ISIC_test.pkl")
    with pytest.raises(DataError, match="ISIC_train.pkl holds classes of another file: NV"):
        bring_in(Path(raw), protocol="hold-out")


def test_everything_dropped_as_copies_is_told(tmp_path, bring_in):
    for name in ("a", "b"):
        save([np.zeros((8, 8, 3), np.uint8)], tmp_path / "raw" / name)
    with pytest.raises(DataError, match="2 copies that stand in several classes were dropped; --duplicates keep"):
        bring_in(tmp_path / "raw")


@pytest.mark.parametrize("name", ["glyphs", "a/b", "x" * 101, "-x", ""])
def test_a_name_that_cannot_be_used_is_refused_before_anything_is_read(name, tmp_path):
    with pytest.raises(ConfigError, match="cannot name a data set"):
        make_request(name, tmp_path / "raw", {}, {}, spaces=tmp_path)


def test_a_path_that_is_too_long_and_a_data_root_that_is_a_file_are_told(tmp_path, bring_in):
    with pytest.raises(DataError, match="cannot be used"):
        bring_in(tmp_path / ("x" * 300))
    raw = WRITERS["folder"](tmp_path / "raw", GENERATED).raw
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="cannot be used"):
        bring_in(raw)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import: [1]", "section `import` must map keys to values"),
        ("import: {form: folder, ratio: 3}", r"x.yaml: `ratio` must"),
        ("fixed: {task: {way: 3}}", "x.yaml: .* did you mean `task.ways`"),
        ("fixed: {task: {ways: five}}", "x.yaml: `task.ways` must"),
    ],
)
def test_what_is_wrong_with_a_yaml_is_told_with_its_name(text, message, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_request("x", tmp_path / "raw", {}, {}, spaces=tmp_path)


def test_flags_win_over_the_yaml_and_it_over_defaults(tmp_path):
    (tmp_path / "x.yaml").write_text("import: {ratio: 0.4, base_classes: 7}\nfixed: {task: {ways: 3, queries: 2}}")
    request = make_request("x", tmp_path, {"ratio": 0.6, "form": None}, {"ways": 4, "shots": None}, spaces=tmp_path)
    settings, task = request.settings, request.task
    assert (settings.ratio, settings.base_classes, settings.novel_classes, settings.form) == (0.6, 7, 20, None)
    assert (task.ways, task.shots, task.queries) == (4, 1, 2)
