"""A split: which classes are base, validation and novel, and what must hold for tasks to be drawn from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from datg.data.import_settings import PARTS
from datg.errors import DataError

Positive = Annotated[int, Field(ge=1)]
ALL_BASE_EXAMPLES = ", all base examples"  # ends the protocol where held-out examples were given back
HELD_OUT = " (held out)"  # ends the name of a class of held-out examples; it follows its class in the table


class TaskSize(BaseModel):
    """Hold the geometry of every task, in training and in evaluation.

    Attributes:
        ways: N, classes of a task.
        shots: K, labelled (support) examples of each.
        queries: Q, examples of each that are to be classified.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ways: Annotated[int, Field(ge=2)] = 5
    shots: Positive = 1
    queries: Positive = 15


class Split(BaseModel):
    """Hold disjoint lists of class names, and how they were chosen.

    Attributes:
        protocol: the name of what chose them.
        base: trained on.
        validation: scored on.
        novel: only the final evaluation sees them.
        remarks: what one has to know before reading a score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    base: list[str]
    validation: list[str]
    novel: list[str]
    remarks: list[str] = []

    def parts(self) -> dict[str, list[str]]:
        """Return the classes of every part."""
        return {name: self.part(name) for name in PARTS}

    def part(self, name: str) -> list[str]:
        """Return the classes of part ``name``: base, validation or novel."""
        classes: list[str] = getattr(self, name)
        return classes


@dataclass(frozen=True)
class AvailableClasses:
    """Hold the classes that a protocol chooses from.

    Attributes:
        parts: base, validation or novel by class, where the raw form or a division says so.
        in_file_order: whether classes are numbered by their place in a file and not named.
        ways: N of the tasks that are wanted.
    """

    counts: dict[str, int]
    parts: dict[str, str]
    in_file_order: bool = False
    ways: int = 5

    def named_parts(self, protocol: str) -> dict[str, list[str]]:
        """Return the classes of each part, by name.

        Raises:
            DataError: a part has none.
        """
        parts = {part: sorted(name for name in self.counts if self.parts.get(name) == part) for part in PARTS}
        missing = [part for part, names in parts.items() if not names]
        if missing:
            raise DataError(
                f"protocol {protocol} needs base, validation and novel classes, but the raw files name no "
                f"{' and no '.join(missing)} classes with enough examples; choose another --protocol, or lower --min-examples."
            )
        return parts


def check_split(split: Split, counts: Mapping[str, int]) -> None:
    """Check that the parts are disjoint, hold no class twice and exist.

    Raises:
        DataError: naming every offender.
    """
    listed = [name for part in PARTS for name in split.part(part)]
    unknown = sorted(set(listed) - set(counts))
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if unknown:
        raise DataError(f"the split names {len(unknown)} classes that the data set lacks: {', '.join(unknown)}.")
    if twice:
        raise DataError(f"a split may list a class only once, but lists these twice: {', '.join(twice)}.")


def check_tasks(parts: Mapping[str, Mapping[str, int]], *, ways: int, shots: int, queries: int) -> None:
    """Check that every part has ``ways`` classes of at least ``shots + queries`` examples.

    Args:
        parts: for base, validation or novel, the number of examples of each class.
        ways: N.
        shots: K.
        queries: Q.

    Raises:
        DataError: listing every part and class that is too small, and what would work.
    """
    problems = []
    for part, counts in parts.items():
        if len(counts) < ways:
            problems.append(f"{part} has {len(counts)} classes for {ways} ways")
        small = [f"{name} ({count})" for name, count in counts.items() if count < shots + queries]
        if small:
            problems.append(f"{part} classes with fewer than {shots} + {queries} examples: {', '.join(small)}")
    if problems:
        smallest = min((count for counts in parts.values() for count in counts.values()), default=0)
        fewest = min(map(len, parts.values()))
        ways_out = [f"lower task.ways (--ways of an import) to {fewest}"] if 2 <= fewest < ways else []
        if smallest < shots + queries:
            ways_out.append(f"import with --min-examples {shots + queries}")
            ways_out += [f"set task.queries (--queries) to at most {smallest - shots}"] if smallest > shots else []
            ways_out += [f"set task.shots (--shots) to at most {smallest - queries}"] if smallest > queries else []
        raise DataError(
            f"the split is too small for {ways}-way tasks with {shots} shots and {queries} queries: {'; '.join(problems)}"
            + (f". {' or '.join(ways_out).capitalize()}." if ways_out else "; more classes or examples are needed.")
        )
