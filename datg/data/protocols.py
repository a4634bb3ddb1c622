"""Protocols: how the classes of a data set become base, validation and novel (algorithms: data sets, section 11).

A protocol chooses a :class:`~datg.data.splits.Split` from class names with their counts. One that holds out *examples* divides
classes first: ``NV`` becomes ``NV`` and ``NV (held out)``. None ever sees an example.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from datg.data.import_settings import PARTS, ImportSettings
from datg.data.importers.raw import Example, RawData, listed
from datg.data.splits import HELD_OUT, Split
from datg.errors import DataError
from datg.seeding import derive_seed

Classes = dict[str, list[Example]]
DERMNET_CLASSES = 203  # with at least 30 pictures each
DERMNET_BASE, DERMNET_VALIDATION, DERMNET_NOVEL = 30, 30, 53
MINIMUM_VALIDATION = 5

# The fixed permutation of miniImageNet's 64 training classes whose first int(64 * ratio) entries MLTI trains on.
MINI_IMAGENET_ORDER = (
    26, 59, 14, 16, 17, 52, 8, 39, 46, 32, 20, 57, 34, 25, 63, 31, 30, 40, 0, 43, 7, 33, 12, 6, 22, 23, 49, 50, 15, 13, 51, 10,
    24, 27, 47, 55, 9, 5, 18, 36, 44, 35, 4, 21, 61, 42, 11, 3, 45, 58, 60, 56, 1, 28, 48, 54, 37, 19, 62, 41, 38, 2, 53, 29,
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """The classes that a protocol chooses from.

    Attributes:
        counts: examples of each class.
        parts: base, validation or novel by class, where the raw form or a division says so.
        in_file_order: whether classes are numbered by their place in a file and not named.
    """

    counts: dict[str, int]
    parts: dict[str, str]
    in_file_order: bool = False

    def part(self, name: str) -> list[str]:
        """The classes of that part, by name."""
        return sorted(class_ for class_ in self.counts if self.parts.get(class_) == name)


@dataclass(frozen=True)
class SplitProtocol:
    """One way to split.

    Attributes:
        choose: makes the split.
        divide: divides classes before that, if the protocol does.
    """

    choose: Callable[[Found, ImportSettings], Split]
    divide: Callable[[RawData, ImportSettings], RawData] | None = None


def random_split(found: Found, settings: ImportSettings) -> Split:
    """The asked numbers of base, validation and novel classes, drawn with a seed."""
    base, validation, novel = settings.base_classes, settings.validation_classes, settings.novel_classes
    if base + validation + novel > len(found.counts):
        raise DataError(
            f"protocol random needs {base} base + {validation} validation + {novel} novel classes, got "
            f"{len(found.counts)}; lower --base-classes, --validation-classes or --novel-classes, or lower --min-examples."
        )
    rng = np.random.default_rng(derive_seed(settings.split_seed, "split"))
    names = [str(name) for name in rng.permutation(sorted(found.counts))]
    return Split(
        protocol="random",
        base=sorted(names[:base]),
        validation=sorted(names[base : base + validation]),
        novel=sorted(names[base + validation : base + validation + novel]),
    )


def split_from_file(found: Found, settings: ImportSettings) -> Split:
    """The lists ``base``, ``validation`` and ``novel`` of a YAML file."""
    if settings.split_file is None:
        raise DataError("protocol file needs --split-file with the lists base, validation and novel.")
    return Split(protocol="file", **settings.lists())


def as_given(found: Found, settings: ImportSettings) -> Split:
    """The parts that the raw form itself names: train, val and test."""
    return Split(protocol="as-given", **_parts(found, "as-given"))


def dermnet_s(found: Found, settings: ImportSettings) -> Split:
    """DermNet-S: by size, then name; the 30 largest are base, the 53 smallest novel, up to 30 before those validation.

    With the paper's 203 classes validation is ranks 120 to 149: nearest in size to the novel ones.
    """
    needed = DERMNET_BASE + MINIMUM_VALIDATION + DERMNET_NOVEL
    counts = found.counts
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    if len(ranked) < needed:
        raise DataError(
            f"protocol dermnet-s needs at least {needed} classes (30 base, 5 validation, 53 novel), got {len(ranked)}; "
            "lower --min-examples or choose --protocol random with fewer classes."
        )
    novel = len(ranked) - DERMNET_NOVEL
    remarks = []
    if len(ranked) != DERMNET_CLASSES:
        remarks.append(
            f"DermNet-S has {DERMNET_CLASSES} classes, these are {len(ranked)}: the parts are not those of the paper."
        )
    for border, what in ((DERMNET_BASE, "base"), (novel, "novel")):
        size = counts[ranked[border]]
        if counts[ranked[border - 1]] == size:
            tied = [name for name in ranked if counts[name] == size]
            remarks.append(
                f"{len(tied)} classes of {size} examples tie at the border of the {what} classes; they are ranked by name, "
                f"another copy may rank them otherwise: {listed(tied)}."
            )
    return Split(
        protocol="dermnet-s",
        base=ranked[:DERMNET_BASE],
        validation=ranked[max(DERMNET_BASE, novel - DERMNET_VALIDATION) : novel],
        novel=ranked[novel:],
        remarks=remarks,
    )


def mini_imagenet_s(found: Found, settings: ImportSettings) -> Split:
    """miniImageNet-S: a share of the 64 training classes by MLTI's index list, the 16 and 20 others as published.

    The list counts places in the published pickle. Named classes are counted in the order of their names, which need not be
    that of the pickle; the split is called ``mini-imagenet-s-sorted`` then.
    """
    parts = _parts(found, "mini-imagenet-s")
    training = parts["base"]
    if len(training) != len(MINI_IMAGENET_ORDER):
        raise DataError(
            f"protocol mini-imagenet-s needs the {len(MINI_IMAGENET_ORDER)} training classes of miniImageNet, got {len(training)}"
            "; check that all are there with --min-examples, or choose --protocol as-given."
        )
    number = int(len(training) * settings.ratio)
    remarks = []
    if not found.in_file_order:
        remarks.append(
            "the index list was applied to the sorted class names, so these base classes may differ from those of the published "
            "pickle; inspect_data.py --identify-by tells which are which."
        )
    return Split(
        protocol="mini-imagenet-s" if found.in_file_order else "mini-imagenet-s-sorted",
        base=[training[index] for index in MINI_IMAGENET_ORDER[:number]],
        validation=parts["validation"],
        novel=parts["novel"],
        remarks=remarks,
    )


def hold_out(found: Found, settings: ImportSettings) -> Split:
    """Validation on examples of the base classes that training does not see."""
    return Split(
        protocol="hold-out",
        **_parts(found, "hold-out"),
        remarks=[
            f"validation holds {settings.held_out:.0%} of each base class's examples: it tells how well new examples of known "
            "classes are recognised, not how well new classes are. Use it to reject divergence and to choose learning rate and "
            "iterations; take the weights of a method (MMD weight, Beta, clusters) from leave-one-out.",
        ],
    )


def leave_one_out(found: Found, settings: ImportSettings) -> Split:
    """Validation on one class that training does not see, beside examples of a known one that it does not see."""
    return Split(
        protocol="leave-one-out",
        **_parts(found, "leave-one-out"),
        remarks=[
            f"validation tells the left-out class {settings.left_out} from new examples of one trained class: it sees a new "
            "class, but one only, and training lacks it. Judge a configuration by all base classes left out in turn. With fewer "
            "than 2 x ways classes left, the two clusters of datg must share some (strategy.small_clusters: overlap).",
        ],
    )


def by_groups(found: Found, settings: ImportSettings) -> Split:
    """Classes within groups of examples, such as tissues: the same label in two parts makes two classes."""
    return Split(protocol="groups", **_parts(found, "groups"))


def divide_by_groups(data: RawData, settings: ImportSettings) -> RawData:
    """Makes one class of each label and part; examples of groups that no part lists are left out."""
    lists = settings.lists()
    part_of = {group: part for part in PARTS for group in lists.get(part, [])}
    twice = [group for group, number in Counter(g for part in PARTS for g in lists.get(part, [])).items() if number > 1]
    existing = {example.group for examples in data.classes.values() for example in examples}
    absent = sorted(set(part_of) - existing)
    if twice or absent or existing == {""}:
        raise DataError(
            "protocol groups needs examples with groups (--group-column), got none."
            if existing == {""}
            else f"the lists of groups must name each group once, got {listed(twice)} twice."
            if twice
            else f"the lists of groups name {len(absent)} groups that the data lack: {listed(absent)}; there are: "
            f"{listed(sorted(existing), 40)}."
        )
    classes: Classes = {}
    parts = {}
    for part in PARTS:
        for label, examples in data.classes.items():
            chosen = [example for example in examples if part_of.get(example.group) == part]
            if chosen:
                classes[f"{label} ({part})"] = chosen
                parts[f"{label} ({part})"] = part
    unlisted = sorted(existing - set(part_of))
    remark = () if not unlisted else (f"examples of groups that no part lists are left out: {listed(unlisted)}.",)
    return replace(data, classes=classes, parts=parts, remarks=data.remarks + remark)


def divide_hold_out(data: RawData, settings: ImportSettings) -> RawData:
    """Holds out a share of each base class, whole groups only."""
    base, novel = _ranked_base(data, settings, "hold-out")
    return _divided(data, settings, base=base, novel=novel, divide=base)


def divide_leave_one_out(data: RawData, settings: ImportSettings) -> RawData:
    """Leaves one base class to validation, with held-out examples of the next one in the order of sizes."""
    base, novel = _ranked_base(data, settings, "leave-one-out")
    if settings.left_out not in base:
        raise DataError(f"--left-out must be one of the base classes {', '.join(base)}, got {settings.left_out}.")
    partner = base[(base.index(settings.left_out) + 1) % len(base)]
    return _divided(data, settings, base=base, novel=novel, divide=[partner], left_out=settings.left_out)


def _ranked_base(data: RawData, settings: ImportSettings, protocol: str) -> tuple[list[str], list[str]]:
    """Base classes by size, then name, and the novel ones: as the raw form says, else the largest and the rest."""
    ranked = sorted(data.classes, key=lambda name: (-len(data.classes[name]), name))
    if "validation" in data.parts.values():
        raise DataError(
            f"protocol {protocol} is for data without validation classes, but the raw files name some; choose --protocol "
            "as-given."
        )
    if data.parts:
        base = [name for name in ranked if data.parts.get(name) == "base"]
        return base, [name for name in ranked if data.parts.get(name) == "novel"]
    number = settings.base_classes
    if number >= len(ranked):
        raise DataError(
            f"protocol {protocol} takes the {number} largest classes as base classes and needs others as novel ones, got "
            f"{len(ranked)} classes; lower --base-classes."
        )
    return ranked[:number], ranked[number:]


def _divided(
    data: RawData,
    settings: ImportSettings,
    *,
    base: list[str],
    novel: list[str],
    divide: list[str],
    left_out: str | None = None,
) -> RawData:
    """Puts the classes ``divide`` into two each; no group stands in two parts afterwards."""
    held = _held_groups({name: data.classes[name] for name in divide}, settings)
    classes: Classes = {}
    parts: dict[str, str] = {}
    for name in base:
        if name not in divide:
            classes[name], parts[name] = data.classes[name], "validation" if name == left_out else "base"
            continue
        for class_, part, inside in ((name, "base", False), (name + HELD_OUT, "validation", True)):
            classes[class_] = [example for example in data.classes[name] if (_group(example) in held) == inside]
            parts[class_] = part
    classes |= {name: data.classes[name] for name in novel}
    parts |= dict.fromkeys(novel, "novel")
    classes, remarks = _separated(classes, parts)
    small = [
        f"{name} ({len(classes[name])})"
        for name in classes
        if name.endswith(HELD_OUT) and len(classes[name]) < settings.min_examples
    ]
    if small:
        raise DataError(
            f"held-out examples must be at least --min-examples {settings.min_examples} of each class, but these are fewer: "
            f"{', '.join(small)}; raise --held-out or lower --min-examples."
        )
    return replace(data, classes=classes, parts=parts, remarks=(*data.remarks, *remarks))


def _held_groups(classes: Classes, settings: ImportSettings) -> set[str]:
    """Groups for the held-out side, in random order, as long as they fit into the share of every class."""
    sizes = {name: Counter(map(_group, examples)) for name, examples in classes.items()}
    room = {name: int(settings.held_out * len(examples)) for name, examples in classes.items()}
    rng = np.random.default_rng(derive_seed(settings.split_seed, "hold out"))
    held = set()
    for group in map(str, rng.permutation(sorted({group for counts in sizes.values() for group in counts}))):
        if all(counts[group] <= room[name] for name, counts in sizes.items()):
            held.add(group)
            for name, counts in sizes.items():
                room[name] -= counts[group]
    return held


def _separated(classes: Classes, parts: dict[str, str]) -> tuple[Classes, list[str]]:
    """Leaves out what training would see of a group of validation or novel classes, and validation of novel ones."""
    if not any(example.group for examples in classes.values() for example in examples):
        return classes, [
            "the raw files name no groups, so pictures of one lesion (or patient) may stand in several parts."
        ]
    seen: dict[str, str] = {}  # the last of the three parts that has a group keeps it
    for part in PARTS:
        for name, examples in classes.items():
            seen.update({example.group: part for example in examples if example.group and parts[name] == part})
    kept = {
        name: [example for example in examples if not example.group or seen[example.group] == parts[name]]
        for name, examples in classes.items()
    }
    lost = sum(map(len, classes.values())) - sum(map(len, kept.values()))
    if not lost:
        return kept, []
    return kept, [f"{lost} examples are left out because their group (lesion, patient) has others in a later part."]


def _group(example: Example) -> str:
    """What must stay together; an example without a group is one of its own."""
    return example.group or example.source


def _parts(found: Found, protocol: str) -> dict[str, list[str]]:
    parts = {part: found.part(part) for part in PARTS}
    missing = [part for part, names in parts.items() if not names]
    if missing:
        raise DataError(
            f"protocol {protocol} needs base, validation and novel classes, but the raw files name no {' and no '.join(missing)} "
            "classes with enough examples; choose another --protocol, or lower --min-examples."
        )
    return parts


PROTOCOLS: dict[str, SplitProtocol] = {
    "random": SplitProtocol(random_split),
    "file": SplitProtocol(split_from_file),
    "as-given": SplitProtocol(as_given),
    "groups": SplitProtocol(by_groups, divide_by_groups),
    "hold-out": SplitProtocol(hold_out, divide_hold_out),
    "leave-one-out": SplitProtocol(leave_one_out, divide_leave_one_out),
    "dermnet-s": SplitProtocol(dermnet_s),
    "mini-imagenet-s": SplitProtocol(mini_imagenet_s),
}
