"""Protocols for data sets with too few classes to give any to validation: examples, or one class, are held out instead.

Both divide classes before anything is written: ``NV`` becomes ``NV`` and ``NV (held out)``. Whole groups of examples, such as the
pictures of one lesion, are held out, and no group ever stands in two parts.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from datg.data.import_settings import PARTS, ImportSettings
from datg.data.importers.raw import Classes, Example, RawData
from datg.data.splits import HELD_OUT, Found, Split
from datg.errors import DataError
from datg.seeding import derive_seed


def hold_out(found: Found, settings: ImportSettings) -> Split:
    """Validation on examples of the base classes that training does not see."""
    return Split(
        protocol="hold-out",
        **found.named_parts("hold-out"),
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
        **found.named_parts("leave-one-out"),
        remarks=[
            f"validation tells the left-out class {settings.left_out} from new examples of one trained class: it sees a new "
            "class, but one only, and training lacks it. Judge a configuration by all base classes left out in turn. With fewer "
            "than 2 x ways classes left, the two clusters of datg must share some (strategy.small_clusters: overlap).",
        ],
    )


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
