"""Numbered classes found again in a named copy that was resized otherwise."""

import numpy as np
from PIL import Image

from datg.data.catalog import Dataset
from datg.data.class_table import ClassTable
from datg.data.splits import Split
from datg.inspection.identification import identify, write_identities
from datg.storage.files import read_yaml


def table_of(classes, size, method):
    pictures = [
        np.asarray(Image.fromarray(picture).resize((size, size), method)).transpose(2, 0, 1)
        for found in classes.values()
        for picture in found
    ]
    counts = np.array([len(found) for found in classes.values()])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return ClassTable(np.stack(pictures), tuple(classes), starts, counts, "x")


def copies(take):
    found = take(7, 6)
    named = {f"n{index}": pictures for index, pictures in enumerate(found)}
    order = [4, 0, 5, 2, 6, 1]  # the numbered copy lacks one, and is in another order
    numbered = {f"train {place:02d}": found[index] for place, index in enumerate(order)}
    small = table_of(numbered, 60, Image.Resampling.BILINEAR)
    return small, table_of(named, 84, Image.Resampling.LANCZOS), order


def test_every_class_is_found_again_in_a_copy_resized_otherwise(take, tmp_path):
    numbered, named, order = copies(take)
    found = identify(numbered, named)
    assert {name: who.name for name, who in found.items()} == {
        f"train {place:02d}": f"n{index}" for place, index in enumerate(order)
    }
    assert all(who.votes == who.of == 6 and who.sure for who in found.values())
    names = list(numbered.names)
    split = Split(protocol="x", base=names[:3], validation=names[3:4], novel=names[4:])
    path = tmp_path / "split.yaml"
    assert write_identities(Dataset("mini", numbered, split), Dataset("named", named, split), found, path) == []
    assert read_yaml(path) == {"base": ["n4", "n0", "n5"], "validation": ["n2"], "novel": ["n6", "n1"]}
    assert f"--split-file {path}" in path.read_text() and "#   train 01: n0 (6 of 6)" in path.read_text()


def test_what_is_not_sure_is_told_and_no_split_is_written(take, tmp_path):
    numbered, named, _ = copies(take)
    without = named.select([name for name in named.names if name != "n5"])
    found = identify(numbered, without)
    split = Split(protocol="x", base=list(numbered.names), validation=[], novel=[])
    path = tmp_path / "split.yaml"
    doubts = write_identities(Dataset("mini", numbered, split), Dataset("named", without, split), found, path)
    assert any(doubt.startswith("train 02: ") for doubt in doubts)
    assert read_yaml(path) == {}


def test_two_numbered_classes_that_are_the_same_named_one_are_told(take, tmp_path):
    numbered, named, _ = copies(take)
    twice = numbered.select(["train 00", "train 00"])
    twice = type(twice)(twice.examples, ("train 00", "train 01"), twice.starts, twice.counts, "x")
    split = Split(protocol="x", base=["train 00", "train 01"], validation=[], novel=[])
    doubts = write_identities(
        Dataset("mini", twice, split), Dataset("named", named, split), identify(twice, named), tmp_path / "split.yaml"
    )
    assert doubts == [f"train 0{index}: n4 with 6 of 6 votes, like 1 other classes" for index in (0, 1)]
