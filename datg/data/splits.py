"""Which classes are base, validation and novel: one function a protocol (algorithms: data sets, section 11).

A protocol maps class names with their counts to a :class:`Split`; it never sees an example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from datg.errors import DataError
from datg.files import read_yaml
from datg.seeding import derive_seed

DERMNET_BASE, DERMNET_NOVEL = 30, 53
MINIMUM_VALIDATION = 5
PARTS = ("base", "validation", "novel")


class Split(BaseModel):
    """Disjoint lists of class names, and how they were chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    base: list[str]
    validation: list[str]
    novel: list[str]

    def part(self, name: str) -> list[str]:
        """The classes of part ``name``: base, validation or novel."""
        classes: list[str] = getattr(self, name)
        return classes


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """What protocols need beside the classes: counts and seed for ``random``, a path for ``file``."""

    base: int = 20
    validation: int = 12
    novel: int = 20
    seed: int = 0
    file: Path | None = None


def dermnet_s(counts: dict[str, int], options: SplitOptions) -> Split:
    """DermNet-S: by size, then name; the 30 largest are base, the 53 smallest novel, the rest validation."""
    needed = DERMNET_BASE + MINIMUM_VALIDATION + DERMNET_NOVEL
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    if len(ranked) < needed:
        raise DataError(
            f"protocol dermnet-s needs at least {needed} classes (30 base, 5 validation, 53 novel), got {len(ranked)}; "
            "lower --min-images or choose --protocol random with fewer classes."
        )
    return Split(
        protocol="dermnet-s",
        base=ranked[:DERMNET_BASE],
        validation=ranked[DERMNET_BASE:-DERMNET_NOVEL],
        novel=ranked[-DERMNET_NOVEL:],
    )


def random_split(counts: dict[str, int], options: SplitOptions) -> Split:
    """The asked numbers of base, validation and novel classes, drawn with a seed."""
    base, validation, novel = options.base, options.validation, options.novel
    if base + validation + novel > len(counts):
        raise DataError(
            f"protocol random needs {base} base + {validation} validation + {novel} novel classes, got {len(counts)}; "
            "lower --base-classes, --validation-classes or --novel-classes, or lower --min-images."
        )
    rng = np.random.default_rng(derive_seed(options.seed, "split"))
    names = [str(name) for name in rng.permutation(sorted(counts))]
    return Split(
        protocol="random",
        base=sorted(names[:base]),
        validation=sorted(names[base : base + validation]),
        novel=sorted(names[base + validation : base + validation + novel]),
    )


def split_from_file(counts: dict[str, int], options: SplitOptions) -> Split:
    """The lists ``base``, ``validation`` and ``novel`` of a YAML file."""
    if options.file is None:
        raise DataError("protocol file needs --split-file with the lists base, validation and novel.")
    lists = read_yaml(options.file)
    if set(lists) != set(PARTS) or not all(isinstance(lists[part], list) for part in PARTS):
        raise DataError(f"{options.file} must hold the three lists base, validation and novel, got {sorted(lists)}.")
    return Split(protocol="file", **{part: [str(name) for name in lists[part]] for part in PARTS})


PROTOCOLS: dict[str, Callable[[dict[str, int], SplitOptions], Split]] = {
    "dermnet-s": dermnet_s,
    "random": random_split,
    "file": split_from_file,
}


def check_split(split: Split, counts: dict[str, int]) -> None:
    """Checks that the parts are disjoint, hold no class twice and exist.

    Raises:
        DataError: naming every offender.
    """
    listed = [name for part in PARTS for name in split.part(part)]
    unknown = sorted(set(listed) - set(counts))
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if unknown:
        raise DataError(f"the split names {len(unknown)} classes that the data set lacks: {', '.join(unknown)}.")
    if twice:
        raise DataError(f"a class may stand in one part of the split only, but these stand twice: {', '.join(twice)}.")


def check_tasks(
    split: Split, counts: dict[str, int], *, ways: int, shots: int, queries: int, parts: tuple[str, ...] = PARTS
) -> None:
    """Checks that every part has ``ways`` classes of at least ``shots + queries`` examples.

    Raises:
        DataError: listing every part and class that is too small, and what would work.
    """
    problems = []
    for part in parts:
        names = split.part(part)
        if len(names) < ways:
            problems.append(f"{part} has {len(names)} classes for {ways} ways")
        small = [f"{name} ({counts[name]})" for name in names if counts[name] < shots + queries]
        if small:
            problems.append(f"{part} classes with fewer than {shots} + {queries} examples: {', '.join(small)}")
    if problems:
        smallest = min(counts[name] for part in parts for name in split.part(part))
        raise DataError(
            f"the split is too small for {ways}-way tasks with {shots} shots and {queries} queries: "
            + "; ".join(problems)
            + f". Lower task.ways, import with --min-images {shots + queries}, or set task.queries to at most "
            f"{max(smallest - shots, 0)}."
        )
