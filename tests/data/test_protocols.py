import itertools
from dataclasses import dataclass

import pytest

from datg.data.import_settings import PARTS, ImportSettings
from datg.data.protocols import PROTOCOLS
from datg.data.protocols.mini_imagenet_s import MINI_IMAGENET_ORDER
from datg.data.raw_data import RawData
from datg.data.splits import AvailableClasses, Split, check_split, check_tasks
from datg.errors import ConfigError, DataError

COUNTS = {f"class {index:03d}": 20 + index // 2 for index in range(120)}
SIZES = {"base": 64, "validation": 16, "novel": 20}


@dataclass(frozen=True, eq=False)
class Item:
    source: str
    group: str = ""


def settings_of(**values):
    return ImportSettings.from_dict({"min_examples": 1, **values}, source="test")


def found_of(counts=COUNTS, parts=None, in_file_order=False):
    return AvailableClasses(dict(counts), parts or {}, in_file_order)


def classes_of(counts, group=lambda name, index: ""):
    return {name: [Item(f"{name}/{i}", group(name, i)) for i in range(number)] for name, number in counts.items()}


def split_by(protocol, data, **values):
    """Divides and chooses, as an import does."""
    settings = settings_of(**values)
    rule = PROTOCOLS[protocol]
    divided = rule.divide(data, settings) if rule.divide else data
    counts = {name: len(items) for name, items in divided.classes.items()}
    split = rule.choose(AvailableClasses(counts, divided.parts, divided.in_file_order), settings)
    check_split(split, counts)
    return split, divided


def mini_imagenet(in_file_order=False):
    names = {part: [f"{part} {index:02d}" for index in range(number)] for part, number in SIZES.items()}
    parts = {name: part for part in PARTS for name in names[part]}
    return RawData(classes_of(dict.fromkeys(parts, 20)), shape=(1,), parts=parts, in_file_order=in_file_order)


DERM = RawData(classes_of(COUNTS), shape=(1,))
ISIC = {"NV": 30, "MEL": 25, "BKL": 24, "BCC": 23, "AKIEC": 22, "VASC": 21, "DF": 20}
TISSUES = {"base": ["liver", "heart"], "validation": ["skin"], "novel": ["lung"]}
CELLS = RawData(
    classes_of({"B cell": 40, "T cell": 40}, lambda name, i: ("liver", "heart", "skin", "lung")[i % 4]), shape=(1,)
)
CASES = {
    "random": (DERM, {}),
    "file": (DERM, {"split_file": "split.yaml"}),
    "as-given": (mini_imagenet(), {}),
    "groups": (CELLS, {"groups": TISSUES}),
    "hold-out": (RawData(classes_of(ISIC), shape=(1,)), {"base_classes": 4}),
    "leave-one-out": (RawData(classes_of(ISIC), shape=(1,)), {"base_classes": 4, "left_out": "MEL"}),
    "dermnet-s": (DERM, {}),
    "mini-imagenet-s": (mini_imagenet(in_file_order=True), {}),
}


def test_every_protocol_has_a_case():
    assert set(CASES) == set(PROTOCOLS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_disjoint_parts_of_known_classes(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "split.yaml").write_text("base: [class 000]\nvalidation: [class 001]\nnovel: [class 002, class 003]\n")
    data, values = CASES[protocol]
    split, divided = split_by(protocol, data, **values)
    assert split.protocol == protocol and Split.model_validate(split.model_dump()) == split
    assert all(split.part(part) for part in PARTS)
    owners = {id(item): name for name, items in divided.classes.items() for item in items}
    assert len(owners) == sum(map(len, divided.classes.values())), "an example stands in two classes"


def test_dermnet_s_ranks_by_size_then_name():
    split, _ = split_by("dermnet-s", DERM)
    ranked = sorted(COUNTS, key=lambda name: (-COUNTS[name], name))
    assert split.base == ranked[:30] and split.novel == ranked[-53:] and split.validation == ranked[-83:-53]
    assert min(COUNTS[name] for name in split.base) >= max(COUNTS[name] for name in split.novel)


def test_with_the_203_classes_of_the_paper_validation_is_ranks_120_to_149():
    counts = {f"disease {index:03d}": 1000 - index for index in range(203)}
    split, _ = split_by("dermnet-s", RawData(classes_of(counts), shape=(1,)))
    ranked = list(counts)
    assert split.base == ranked[:30] and split.validation == ranked[120:150] and split.novel == ranked[150:]
    assert split.remarks == []


def test_dermnet_s_uses_what_there_is_for_validation_and_tells_of_ties_at_a_border():
    counts = {f"class {index:03d}": 40 if index < 31 else 30 - index // 40 for index in range(90)}
    split, _ = split_by("dermnet-s", RawData(classes_of(counts), shape=(1,)))
    assert len(split.validation) == 90 - 30 - 53
    assert "DermNet-S has 203 classes, these are 90" in split.remarks[0]
    assert "31 classes of 40 examples tie at the border of the base classes" in split.remarks[1]
    assert "at the border of the novel classes" in split.remarks[2]


def test_dermnet_s_says_how_many_classes_it_needs():
    with pytest.raises(DataError, match="needs at least 88 classes .* got 87; lower --min-examples"):
        PROTOCOLS["dermnet-s"].choose(found_of(dict(list(COUNTS.items())[:87])), settings_of())


def test_mini_imagenet_s_takes_the_published_indices_and_other_ratios_are_nested():
    assert sorted(MINI_IMAGENET_ORDER) == list(range(64))
    data = mini_imagenet(in_file_order=True)
    split, _ = split_by("mini-imagenet-s", data)
    assert split.base == [f"base {index:02d}" for index in (26, 59, 14, 16, 17, 52, 8, 39, 46, 32, 20, 57)]
    assert len(split.validation) == 16 and len(split.novel) == 20 and split.remarks == []
    bases = [split_by("mini-imagenet-s", data, ratio=ratio)[0].base for ratio in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert [len(base) for base in bases] == [12, 25, 38, 51, 64]
    for smaller, larger in itertools.pairwise(bases):
        assert set(smaller) < set(larger)


def test_named_classes_of_mini_imagenet_are_counted_in_the_order_of_their_names_and_it_is_said():
    split, _ = split_by("mini-imagenet-s", mini_imagenet())
    assert split.protocol == "mini-imagenet-s-sorted" and "may differ" in split.remarks[0]
    data = mini_imagenet()
    data.classes.pop("base 07")
    with pytest.raises(DataError, match="needs the 64 training classes of miniImageNet, got 63"):
        split_by("mini-imagenet-s", data)


def lesions(name, index):
    return f"{name} lesion {index // 3}"


def test_a_hold_out_keeps_lesions_whole_and_its_share_of_every_base_class():
    split, divided = split_by("hold-out", RawData(classes_of(ISIC, lesions), shape=(1,)), base_classes=4)
    assert split.base == ["BCC", "BKL", "MEL", "NV"] and split.novel == ["AKIEC", "DF", "VASC"]
    names = list(divided.classes)
    for name in split.base:
        kept, held = divided.classes[name], divided.classes[f"{name} (held out)"]
        assert names.index(f"{name} (held out)") == names.index(name) + 1
        assert not {item.group for item in kept} & {item.group for item in held}
        assert ISIC[name] * 0.2 - 3 < len(held) <= ISIC[name] * 0.2
        assert len(kept) + len(held) == ISIC[name]
    assert "not how well new classes are" in split.remarks[0]


def test_a_hold_out_without_groups_takes_its_share_to_the_example_says_so_and_depends_on_its_seed():
    data = RawData(classes_of({**ISIC, "BCC": 514}), shape=(1,))
    divided = PROTOCOLS["hold-out"].divide(data, settings_of(base_classes=4))
    assert len(divided.classes["BCC (held out)"]) == 102  # 514 / 5
    assert "no groups" in divided.remarks[0]
    again = PROTOCOLS["hold-out"].divide(data, settings_of(base_classes=4))
    other = PROTOCOLS["hold-out"].divide(data, settings_of(base_classes=4, split_seed=1))
    assert again.classes == divided.classes and other.classes != divided.classes


@pytest.mark.parametrize("left_out", ["NV", "MEL", "BKL", "BCC"])
def test_leaving_one_out_validates_it_against_new_examples_of_one_trained_class(left_out):
    data = RawData(classes_of(ISIC, lesions), shape=(1,))
    split, divided = split_by("leave-one-out", data, base_classes=4, left_out=left_out)
    assert left_out not in split.base and len(split.base) == 3 and left_out in split.validation
    (partner,) = set(split.validation) - {left_out}
    assert partner.removesuffix(" (held out)") in split.base
    assert len(divided.classes[left_out]) == ISIC[left_out]
    assert split.novel == ["AKIEC", "DF", "VASC"] and "small_clusters: overlap" in split.remarks[0]


def test_over_the_four_folds_each_base_class_is_once_the_known_one():
    data = RawData(classes_of(ISIC), shape=(1,))
    splits = [split_by("leave-one-out", data, base_classes=4, left_out=name)[0] for name in list(ISIC)[:4]]
    partners = {name for split in splits for name in split.validation if name.endswith("(held out)")}
    assert len(partners) == 4


@pytest.mark.parametrize("left_out", [None, "DF", "mel"])
def test_only_a_base_class_can_be_left_out(left_out):
    with pytest.raises(DataError, match="--left-out must be one of the base classes NV, MEL, BKL, BCC, got"):
        split_by("leave-one-out", RawData(classes_of(ISIC), shape=(1,)), base_classes=4, left_out=left_out)


@pytest.mark.parametrize("protocol", ["hold-out", "leave-one-out"])
def test_there_must_be_novel_classes_left(protocol):
    with pytest.raises(DataError, match="takes the 7 largest classes .* lower --base-classes"):
        split_by(protocol, RawData(classes_of(ISIC), shape=(1,)), base_classes=7)


def test_groups_make_one_class_of_each_label_and_part():
    split, divided = split_by("groups", CELLS, groups=TISSUES)
    assert split.base == ["B cell (base)", "T cell (base)"] and split.novel == ["B cell (novel)", "T cell (novel)"]
    for name, items in divided.classes.items():
        part = name.rpartition("(")[2].rstrip(")")
        assert {item.group for item in items} == set(TISSUES[part])
    lists = {**TISSUES, "base": ["liver"]}
    assert "left out: heart" in split_by("groups", CELLS, groups=lists)[1].remarks[0]


def test_a_split_file_wins_over_groups_of_the_yaml(tmp_path):
    path = tmp_path / "tissues.yaml"
    path.write_text("base: [skin]\nvalidation: [heart]\nnovel: [lung]\n")
    _, divided = split_by("groups", CELLS, groups=TISSUES, split_file=path)
    assert {item.group for item in divided.classes["B cell (base)"]} == {"skin"}


@pytest.mark.parametrize(
    ("data", "lists", "message"),
    [
        (CELLS, {**TISSUES, "base": ["livre"]}, "name 1 groups that the data lack: livre; there are: heart, liver"),
        (CELLS, {**TISSUES, "base": ["lung"]}, "must name each group once, got lung twice"),
        (DERM, TISSUES, "needs examples with groups"),
    ],
)
def test_lists_of_groups_must_fit_the_data(data, lists, message):
    with pytest.raises(DataError, match=message):
        split_by("groups", data, groups=lists)


def test_parts_that_the_raw_form_does_not_name_are_told():
    parts = {"class 000": "base", "class 001": "novel"}
    with pytest.raises(DataError, match="name no validation classes"):
        PROTOCOLS["as-given"].choose(found_of(parts=parts), settings_of())


def test_a_random_split_depends_on_its_seed_and_not_on_the_order_of_classes():
    values = {"base_classes": 10, "validation_classes": 7, "novel_classes": 9}
    choose = PROTOCOLS["random"].choose
    split = choose(found_of(), settings_of(**values, split_seed=1))
    assert (len(split.base), len(split.validation), len(split.novel)) == (10, 7, 9)
    assert choose(found_of(dict(reversed(COUNTS.items()))), settings_of(**values, split_seed=1)) == split
    assert choose(found_of(), settings_of(**values, split_seed=2)) != split
    with pytest.raises(DataError, match="needs 100 base .* got 120"):
        choose(found_of(), settings_of(base_classes=100))


@pytest.mark.parametrize(("validation", "way"), [("validation", "as-given"), ("base", "hold-out")])
def test_a_random_split_says_that_it_mixes_the_parts_that_the_raw_files_name(validation, way):
    parts = {name: validation if index < 40 else "novel" if index < 60 else "base" for index, name in enumerate(COUNTS)}
    split = PROTOCOLS["random"].choose(found_of(parts=parts), settings_of())
    (remark,) = split.remarks
    assert "classes, and this split draws from all of them" in remark and f"--protocol {way} keeps" in remark


@pytest.mark.parametrize("text", ["base: [a]", "base: [a]\nvalidation: [b]\nnovel: c", "base: []\nother: []"])
def test_a_split_file_must_have_its_three_lists(tmp_path, text):
    path = tmp_path / "split.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match="must hold the three lists"):
        PROTOCOLS["file"].choose(found_of(), settings_of(split_file=path))
    with pytest.raises(DataError, match="needs --split-file"):
        PROTOCOLS["file"].choose(found_of(), settings_of())


def test_mistakes_in_settings_are_told_at_once_with_their_place():
    with pytest.raises(ConfigError) as caught:
        ImportSettings.from_dict({"ratio": 2, "protocl": "random", "groups": {"train": []}}, source="x.yaml")
    assert str(caught.value).count("x.yaml: ") == 3 and "did you mean `protocol`" in str(caught.value)


def test_a_split_with_unknown_or_shared_classes_is_refused():
    known = {"a": 20, "b": 20, "c": 20}
    with pytest.raises(DataError, match="2 classes that the data set lacks: x, y"):
        check_split(Split(protocol="file", base=["x", "a"], validation=["y"], novel=["b"]), known)
    with pytest.raises(DataError, match="lists these twice: a, b"):
        check_split(Split(protocol="file", base=["a", "b"], validation=["b"], novel=["a"]), known)


def test_too_small_parts_are_all_listed_with_what_would_work():
    parts = {"base": {"a": 20, "b": 9}, "validation": {"c": 20}, "novel": {"d": 8, "e": 20}}
    with pytest.raises(DataError) as caught:
        check_tasks(parts, ways=2, shots=1, queries=15)
    for said in (
        "validation has 1 classes for 2 ways",
        "b (9)",
        "d (8)",
        "--min-examples 16",
        "(--queries) to at most 7",
    ):
        assert said in str(caught.value)
    check_tasks(parts, ways=1, shots=1, queries=7)


def test_a_held_out_part_that_is_too_small_is_refused():
    data = RawData(classes_of(ISIC), shape=(1,))
    with pytest.raises(DataError, match=r"BKL \(held out\) \(4\), BCC \(held out\) \(4\); raise --held-out or lower"):
        split_by("hold-out", data, base_classes=4, min_examples=5)
    whole = RawData(classes_of(ISIC, lambda name, index: name), shape=(1,))  # one lesion cannot be divided
    with pytest.raises(DataError, match=r"NV \(held out\) \(0\)"):
        split_by("hold-out", whole, base_classes=4)


@pytest.mark.parametrize("protocol", ["hold-out", "leave-one-out"])
def test_patients_with_examples_in_several_classes_stand_in_one_part_only(protocol):
    data = RawData(
        classes_of(ISIC, lambda name, index: f"patient {index}" if index < 8 else f"{name} {index}"), shape=(1,)
    )
    _, divided = split_by(protocol, data, base_classes=4, left_out="NV")
    groups = {part: set() for part in PARTS}
    for name, items in divided.classes.items():
        groups[divided.parts[name]] |= {item.group for item in items}
    for one, other in itertools.combinations(PARTS, 2):
        assert not groups[one] & groups[other]
    assert {f"patient {index}" for index in range(8)} <= groups["novel"]
    assert any("32 examples are left out because their group" in remark for remark in divided.remarks)


def test_protocols_that_hold_examples_out_are_not_for_data_with_validation_classes():
    for protocol in ("hold-out", "leave-one-out"):
        with pytest.raises(
            DataError, match="is for data without validation classes, but .* choose --protocol as-given"
        ):
            split_by(protocol, mini_imagenet())
