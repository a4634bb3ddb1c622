"""Dividing the examples of base classes, for data sets with too few classes to give any to validation.

Classes are divided before anything is written: ``NV`` becomes ``NV`` and ``NV (held out)``. Whole groups of examples, such as the
pictures of one lesion, are held out, and no group ever stands in two parts.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from datg.data.import_settings import PARTS, ImportSettings
from datg.data.raw_data import Example, RawClasses, RawData
from datg.data.splits import HELD_OUT
from datg.errors import DataError
from datg.runtime.random_streams import derive_seed


def ranked_base(data: RawData, settings: ImportSettings, protocol: str) -> tuple[list[str], list[str]]:
    """Return base classes by size, then name, and the novel ones: as the raw form says, else the largest and the rest."""
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


def divided(
    data: RawData,
    settings: ImportSettings,
    *,
    base: list[str],
    novel: list[str],
    divide: list[str],
    left_out: str | None = None,
) -> RawData:
    """Put the classes ``divide`` into two each; no group stands in two parts afterwards."""
    held = _held_groups({name: data.classes[name] for name in divide}, settings)
    classes: RawClasses = {}
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


def _held_groups(classes: RawClasses, settings: ImportSettings) -> set[str]:
    """Return groups for the held-out side, in random order, as long as they fit into the share of every class."""
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


def _separated(classes: RawClasses, parts: dict[str, str]) -> tuple[RawClasses, list[str]]:
    """Leave out what training would see of a group of validation or novel classes, and validation of novel ones."""
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
    """Return what must stay together; an example without a group is one of its own."""
    return example.group or example.source
