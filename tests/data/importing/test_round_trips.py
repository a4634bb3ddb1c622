"""Every raw form: written, imported, and every example, class and split compared with what was written."""

import json
import shutil

import numpy as np
import pytest

from datg.data.catalog import open_dataset
from datg.data.importing.formats import FORMATS
from tests.data.importing.raw_forms import WRITERS, isic_pickles


def test_every_form_is_written_here():
    assert set(WRITERS) == set(FORMATS)


def examples_of(dataset, name):
    place = dataset.table.names.index(name)
    start, count = dataset.table.starts[place], dataset.table.counts[place]
    return dataset.table.examples[start : start + count]


def compare(dataset, written):
    assert set(dataset.table.names) == set(written.classes)
    for name, expected in written.classes.items():
        found = examples_of(dataset, name)
        assert found.dtype == expected[0].dtype and found.shape == (len(expected), *expected[0].shape)
        # Files of a folder are read by name, rows of an array in order: the writers know which.
        assert (found == np.stack(expected)).all(), name


@pytest.mark.parametrize("form", WRITERS)
def test_what_was_written_is_imported_and_the_form_is_recognised(form, tmp_path, take, bring_in):
    written = WRITERS[form](tmp_path / "raw", take)
    if form == "ham10000":  # two folders, each sorted by name
        written.classes = {name: [*found[::2], *found[1::2]] for name, found in written.classes.items()}
    dataset = bring_in(written.raw, **written.settings)
    assert dataset.table.description["importer"] == form
    compare(dataset, written)
    if written.parts:
        assert dataset.split.protocol == "as-given"
        assert {part: dataset.split.part(part) for part in written.parts} == written.parts
    assert dataset.table.description["report"]["examples found"] == sum(map(len, written.classes.values()))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]


def test_the_pair_of_isic_pickles_names_base_and_novel_classes(tmp_path, take, bring_in):
    written = isic_pickles(tmp_path / "raw", take)
    dataset = bring_in(written.raw, protocol="hold-out", held_out=0.25)
    assert dataset.split.base == ["BCC", "BKL", "MEL", "NV"] and dataset.split.novel == ["AKIEC", "DF", "VASC"]
    assert dataset.split.validation == [f"{name} (held out)" for name in dataset.split.base]
    assert any("no groups" in remark for remark in dataset.split.remarks)
    for name in dataset.split.base:
        both = [*examples_of(dataset, name), *examples_of(dataset, f"{name} (held out)")]
        assert {x.tobytes() for x in both} == {x.tobytes() for x in written.classes[name]}
        assert len(examples_of(dataset, f"{name} (held out)")) == len(both) // 4


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_unpacked_even_if_it_wraps_everything_in_a_folder(kind, tmp_path, take, bring_in):
    written = WRITERS["folder"](tmp_path / "raw" / "wrapped", take)
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path / "raw")
    from pathlib import Path

    compare(bring_in(Path(archive)), written)
    compare(bring_in(tmp_path / "raw"), written)


def test_pictures_of_another_size_are_resized(tmp_path, take, bring_in):
    from PIL import Image

    written = WRITERS["class-pickles"](tmp_path / "raw", take)
    dataset = bring_in(written.raw, image_size=32)
    name, pictures = next(iter(written.classes.items()))
    expected = [Image.fromarray(p.transpose(1, 2, 0)).resize((32, 32), Image.Resampling.LANCZOS) for p in pictures]
    assert (examples_of(dataset, name) == np.stack([np.asarray(p).transpose(2, 0, 1) for p in expected])).all()


def test_one_array_a_class_is_read_too_as_cells_or_pictures(tmp_path, bring_in):
    rng = np.random.default_rng(0)
    classes = {f"type {index}": rng.normal(size=(5, 9)) for index in range(6)}
    np.savez(tmp_path / "cells.npz", **classes)
    dataset = bring_in(tmp_path / "cells.npz")
    (tmp_path / "folder").mkdir()
    (tmp_path / "cells.npz").rename(tmp_path / "folder" / "cells.npz")
    assert bring_in(tmp_path / "folder", "again").table.fingerprint == dataset.table.fingerprint
    assert dataset.table.shape == (9,) and dataset.table.examples.dtype == np.float32
    for name, values in classes.items():
        assert (examples_of(dataset, name) == values.astype(np.float32)).all()


def test_the_class_list_of_super_classes_is_written_and_then_followed(tmp_path, take, bring_in):
    written = WRITERS["super-classes"](tmp_path / "raw", take)
    path = tmp_path / "classes.yaml"
    dataset = bring_in(written.raw, class_list=path)
    assert "not the paper's 203" in dataset.split.remarks[0] and str(path) in bring_in.said[-1]
    from datg.storage.files import read_yaml, write_yaml

    assert read_yaml(path) == {name: [name] for name in sorted(written.classes)}
    write_yaml(path, {"acne": ["acne-cystic", "acne-open-comedo"], "nose": ["rosacea-nose"], "hand": ["eczema hand"]})
    merged = bring_in(written.raw, class_list=path, base_classes=1, validation_classes=1, novel_classes=1)
    assert dict(merged.table.sizes) == {"acne": 8, "nose": 4, "hand": 4}
    assert "classes.yaml" in merged.split.remarks[0]


def test_importing_again_replaces_and_what_a_killed_import_left_is_removed(tmp_path, take, bring_in):
    written = WRITERS["folder"](tmp_path / "raw", take)
    first = bring_in(written.raw)
    (tmp_path / "data" / "mine" / ".examples.dead").write_bytes(b"x" * 1000)
    left = tmp_path / "data" / ".importing-mine" / "work" / "unpacked"
    left.mkdir(parents=True)
    again = bring_in(written.raw)
    assert again.table.fingerprint == first.table.fingerprint
    assert sorted(path.name for path in (tmp_path / "data").rglob("*")) == sorted(
        ["mine", "table.json", again.table.description["file"]]
    )
    assert json.loads((tmp_path / "data" / "mine" / "table.json").read_text())["options"]["form"] == "folder"
    assert open_dataset("mine", tmp_path / "data").split == again.split


@pytest.mark.parametrize("form", ["isic-challenge", "ham10000"])
def test_lesions_are_read_so_that_a_hold_out_keeps_them_whole(form, tmp_path, take, bring_in):
    from datg.data.import_settings import ImportSettings
    from datg.data.raw_data import Workplace

    written = WRITERS[form](tmp_path / "raw", take)
    work = Workplace(tmp_path / "work", notify=print, progress=lambda *_: None)
    data = FORMATS[form].read(written.raw, ImportSettings(), work)
    sizes = [len(items) for items in data.classes.values()]
    groups = {example.group for items in data.classes.values() for example in items}
    assert len(groups) == sum(-(-size // 2) for size in sizes) and all(group.startswith("HAM_") for group in groups)
    dataset = bring_in(written.raw, protocol="hold-out", base_classes=4, held_out=0.4)
    assert not any("no groups" in remark for remark in dataset.split.remarks)
    for name in ("NV", "MEL", "BCC"):  # lesions of two pictures each
        assert dataset.table.sizes[f"{name} (held out)"] % 2 == 0


def test_the_classes_of_the_published_pickles_are_known_by_their_place(tmp_path, take, bring_in):
    written = WRITERS["array-pickles"](tmp_path / "raw", take)
    split = bring_in(written.raw, protocol="mini-imagenet-s").split
    assert split.protocol == "mini-imagenet-s" and split.base[:2] == ["train 26", "train 59"]
