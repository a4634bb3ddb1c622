from dataclasses import replace

import numpy as np
import pytest

from datg.data import catalog
from datg.data.catalog import Dataset, data_root_flag, with_test_dataset
from datg.data.splits import Split
from datg.errors import ConfigError, DataError
from datg.runtime.called import command
from datg.trial.data import provenance_of
from tests.conftest import table_of


def held_out():
    """Three base classes with held-out examples beside them, and two novel classes."""
    names = ("NV", "NV (held out)", "MEL", "MEL (held out)", "BKL", "BKL (held out)", "DF", "VASC")
    table = replace(table_of([6, 2, 5, 1, 4, 2, 3, 3]), names=names)
    split = Split(
        protocol="hold-out",
        base=["BKL", "MEL", "NV"],
        validation=["BKL (held out)", "MEL (held out)", "NV (held out)"],
        novel=["DF", "VASC"],
    )
    return Dataset("isic", table, split)


def test_held_out_examples_are_given_back_to_their_classes():
    dataset = held_out()
    whole = dataset.with_held_out()
    assert whole.part("base").sizes == {"BKL": 6, "MEL": 6, "NV": 8}
    assert whole.part("validation").sizes == dataset.part("validation").sizes
    assert whole.part("novel").sizes == dataset.part("novel").sizes
    start, count = whole.part("base").starts[2], whole.part("base").counts[2]
    both = [dataset.part("base"), dataset.part("validation")]
    expected = np.concatenate(
        [t.examples[t.starts[i] : t.starts[i] + t.counts[i]] for t, i in zip(both, (2, 2), strict=True)]
    )
    assert (whole.table.examples[start : start + count] == expected).all()
    assert whole.split.protocol == "hold-out, all base examples"
    assert provenance_of(whole) != provenance_of(dataset)
    assert dataset.part("base").sizes == {"BKL": 4, "MEL": 5, "NV": 6}, "the data set itself is as it was"


@pytest.mark.parametrize(
    "split",
    [
        {"protocol": "file", "validation": ["DF"], "novel": ["VASC"]},
        {"protocol": "leave-one-out", "base": ["BKL", "NV"], "validation": ["MEL", "NV (held out)"]},
    ],
)
def test_only_examples_held_out_of_every_base_class_can_be_given_back(split):
    dataset = held_out()
    changed = replace(dataset, split=dataset.split.model_copy(update=split))
    with pytest.raises(
        DataError, match=rf"of each of its base classes \(protocol {split['protocol']}\); name one that was"
    ):
        changed.with_held_out()


def other(shape=(3, 16, 16), dtype=np.uint8):
    table = table_of([4, 4, 4], shape=shape, seed=1)
    table = replace(table, examples=table.examples.astype(dtype))
    return Dataset("other", table, Split(protocol="x", base=["class 0"], validation=["class 1"], novel=["class 2"]))


def test_only_the_novel_classes_are_those_of_the_other_data_set(monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "open_dataset", lambda name, root: other())
    dataset = held_out()
    crossed = with_test_dataset(dataset, "other", tmp_path)
    for part in ("base", "validation"):
        assert crossed.part(part).sizes == dataset.part(part).sizes and crossed.owner(part).name == "isic"
    assert crossed.part("novel").names == ("class 2",) and crossed.owner("novel").name == "other"
    assert (crossed.part("novel").examples == other().table.examples).all()
    assert provenance_of(crossed)["tested on"]["fingerprint"] == "random 1"
    assert (
        with_test_dataset(dataset, None, tmp_path) is dataset
        and with_test_dataset(dataset, "isic", tmp_path) is dataset
    )


def test_a_printed_command_names_the_folder_of_data_sets_where_it_would_not_be_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATG_DATA", raising=False)
    assert data_root_flag(tmp_path / "data") == [] != data_root_flag("other")
    assert command("train", "x.yaml", *data_root_flag(tmp_path / "my data")).endswith("--data-root 'my data'")
    assert data_root_flag(tmp_path.parent) == ["--data-root", tmp_path.parent]
    monkeypatch.setenv("DATG_DATA", str(tmp_path / "my data"))
    assert data_root_flag(tmp_path / "my data") == []


@pytest.mark.parametrize("changes", [{"shape": (3, 20, 20)}, {"shape": (7,)}, {"dtype": np.float32}])
def test_a_test_data_set_of_other_examples_is_refused(changes, monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "open_dataset", lambda name, root: other(**changes))
    with pytest.raises(ConfigError, match="`evaluation.test_dataset` must have examples like those of isic"):
        with_test_dataset(held_out(), "other", tmp_path)


@pytest.mark.parametrize("part", ["base", "validation"])
def test_a_test_data_set_whose_novel_examples_were_seen_is_refused(part, monkeypatch, tmp_path):
    dataset, found = held_out(), other()
    digests = np.random.default_rng(0).integers(0, 256, size=(26, 32)).astype(np.uint8)
    dataset = replace(dataset, table=replace(dataset.table, digests=digests))
    unseen = np.random.default_rng(1).integers(0, 256, size=(12, 32)).astype(np.uint8)
    found = replace(found, table=replace(found.table, digests=unseen))
    monkeypatch.setattr(catalog, "open_dataset", lambda name, root: found)
    with_test_dataset(dataset, "other", tmp_path)
    unseen[9] = digests[dataset.part(part).starts[1]]  # a novel example of the one is known to the other
    with pytest.raises(ConfigError, match=f"novel classes of other hold {part} examples of it: class 2"):
        with_test_dataset(dataset, "other", tmp_path)
