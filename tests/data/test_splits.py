import pytest

from datg.data.splits import PROTOCOLS, Split, SplitOptions, check_split, check_tasks
from datg.errors import DataError

COUNTS = {f"class {index:03d}": 20 + index // 2 for index in range(120)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_disjoint_parts_of_known_classes(protocol, tmp_path):
    path = tmp_path / "split.yaml"
    path.write_text("base: [class 000]\nvalidation: [class 001]\nnovel: [class 002, class 003]\n")
    split = PROTOCOLS[protocol](COUNTS, SplitOptions(file=path))
    check_split(split, COUNTS)
    assert split.protocol == protocol and Split.model_validate(split.model_dump()) == split


def test_dermnet_s_ranks_by_size_then_name():
    split = PROTOCOLS["dermnet-s"](COUNTS, SplitOptions())
    ranked = sorted(COUNTS, key=lambda name: (-COUNTS[name], name))
    assert split.base == ranked[:30] and split.novel == ranked[-53:] and split.validation == ranked[30:-53]
    assert min(COUNTS[name] for name in split.base) >= max(COUNTS[name] for name in split.novel)


def test_dermnet_s_says_how_many_classes_it_needs():
    with pytest.raises(DataError, match="needs at least 88 classes .* got 87; lower --min-images"):
        PROTOCOLS["dermnet-s"](dict(list(COUNTS.items())[:87]), SplitOptions())


def test_a_random_split_depends_on_its_seed_and_not_on_the_order_of_classes():
    options = SplitOptions(base=10, validation=7, novel=9, seed=1)
    split = PROTOCOLS["random"](COUNTS, options)
    assert (len(split.base), len(split.validation), len(split.novel)) == (10, 7, 9)
    assert PROTOCOLS["random"](dict(reversed(COUNTS.items())), options) == split
    assert PROTOCOLS["random"](COUNTS, SplitOptions(base=10, validation=7, novel=9, seed=2)) != split
    with pytest.raises(DataError, match="needs 100 base .* got 120"):
        PROTOCOLS["random"](COUNTS, SplitOptions(base=100))


@pytest.mark.parametrize("text", ["base: [a]", "base: [a]\nvalidation: [b]\nnovel: c", "base: []\nother: []"])
def test_a_split_file_must_have_its_three_lists(tmp_path, text):
    path = tmp_path / "split.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match="must hold the three lists"):
        PROTOCOLS["file"](COUNTS, SplitOptions(file=path))
    with pytest.raises(DataError, match="needs --split-file"):
        PROTOCOLS["file"](COUNTS, SplitOptions())


def test_a_split_with_unknown_or_shared_classes_is_refused():
    known = {"a": 20, "b": 20, "c": 20}
    with pytest.raises(DataError, match="2 classes that the data set lacks: x, y"):
        check_split(Split(protocol="file", base=["x", "a"], validation=["y"], novel=["b"]), known)
    with pytest.raises(DataError, match="these stand twice: a, b"):
        check_split(Split(protocol="file", base=["a", "b"], validation=["b"], novel=["a"]), known)


def test_too_small_parts_are_all_listed_with_what_would_work():
    counts = {"a": 20, "b": 9, "c": 20, "d": 8, "e": 20}
    split = Split(protocol="file", base=["a", "b"], validation=["c"], novel=["d", "e"])
    with pytest.raises(DataError) as caught:
        check_tasks(split, counts, ways=2, shots=1, queries=15)
    for part in (
        "validation has 1 classes for 2 ways",
        "b (9)",
        "d (8)",
        "--min-images 16",
        "task.queries to at most 7",
    ):
        assert part in str(caught.value)
    check_tasks(split, counts, ways=1, shots=1, queries=7)
