"""Protocols: how the classes of a data set become base, validation and novel (algorithms: data sets, section 11).

A protocol chooses a :class:`~datg.data.splits.Split` from class names with their counts; one that splits *examples*, by their
group or by chance, divides classes first. None ever reads an example.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from datg.data.hold_out import divide_hold_out, divide_leave_one_out, hold_out, leave_one_out
from datg.data.import_settings import PARTS, ImportSettings
from datg.data.importers.raw import Classes, RawData, listed
from datg.data.splits import Found, Split
from datg.errors import DataError
from datg.seeding import derive_seed

DERMNET_CLASSES = 203  # with at least 30 pictures each
DERMNET_BASE, DERMNET_VALIDATION, DERMNET_NOVEL = 30, 30, 53
MINIMUM_VALIDATION = 5

# The fixed permutation of miniImageNet's 64 training classes whose first int(64 * ratio) entries MLTI trains on.
MINI_IMAGENET_ORDER = (
    26, 59, 14, 16, 17, 52, 8, 39, 46, 32, 20, 57, 34, 25, 63, 31, 30, 40, 0, 43, 7, 33, 12, 6, 22, 23, 49, 50, 15, 13, 51, 10,
    24, 27, 47, 55, 9, 5, 18, 36, 44, 35, 4, 21, 61, 42, 11, 3, 45, 58, 60, 56, 1, 28, 48, 54, 37, 19, 62, 41, 38, 2, 53, 29,
)  # fmt: skip


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
    return Split(protocol="as-given", **found.named_parts("as-given"))


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
    parts = found.named_parts("mini-imagenet-s")
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


def by_groups(found: Found, settings: ImportSettings) -> Split:
    """Classes within groups of examples, such as tissues: the same label in two parts makes two classes."""
    return Split(protocol="groups", **found.named_parts("groups"))


def divide_by_groups(data: RawData, settings: ImportSettings) -> RawData:
    """Makes one class of each label and part; examples of groups that no part lists are left out."""
    lists = settings.lists()
    part_of = {group: part for part in PARTS for group in lists.get(part, [])}
    named = [group for part in PARTS for group in lists.get(part, [])]
    existing = {example.group for examples in data.classes.values() for example in examples}
    if existing == {""}:
        raise DataError("protocol groups needs examples with groups (--group-column), got none.")
    if len(named) != len(part_of):
        twice = sorted({group for group in named if named.count(group) > 1})
        raise DataError(f"the lists of groups must name each group once, got {listed(twice)} twice.")
    absent = sorted(set(part_of) - existing)
    if absent:
        raise DataError(
            f"the lists of groups name {len(absent)} groups that the data lack: {listed(absent)}; there are: "
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
