"""Which trainings the paper's tables and figures need, put together into comparisons so that none is run twice."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from datg.data.catalog import Dataset
from datg.errors import ConfigError
from datg.search.reproduction.paper import (
    CURVE,
    DATASETS,
    FIGURE_LEARNER,
    FIGURE_SHOTS,
    FIGURE_STRATEGIES,
    GROWTH,
    LEARNERS,
    ORDER,
    SHARES,
    TABLE1,
    TABLE2,
    TABLES,
    Column,
    PaperTable,
)


class Unit(BaseModel):
    """Hold one comparison of a reproduction: all strategies that are compared under one learner on the same tasks.

    Attributes:
        tested_on: the data set of the novel classes, if it is another one.
        base_classes: that are trained on; None for all.
        strategies: in the order of the paper.
        novel_curve: whether novel classes are evaluated over training, once it has ended.
        tune: trials of a search for each strategy, whose best takes the place of its defaults; 0 compares defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    learner: str
    shots: int
    tested_on: str | None = None
    base_classes: int | None = None
    strategies: tuple[str, ...]
    novel_curve: bool = False
    tune: int = 0

    @property
    def place(self) -> tuple[object, ...]:
        """Return what tells it from the other comparisons of a reproduction."""
        return self.dataset, self.learner, self.shots, self.tested_on, self.base_classes, self.tune > 0

    @property
    def suffix(self) -> str:
        """Return the end of its comparison's name."""
        parts = [self.dataset, *(["to", self.tested_on] if self.tested_on else []), self.learner, f"{self.shots}shot"]
        parts += [] if self.base_classes is None else [f"{self.base_classes}classes"]
        return "-".join([*parts, *(["tuned"] if self.tune else [])])

    def joined(self, other: "Unit") -> "Unit":
        """Return the comparison that holds what this one and ``other``, of the same place, are to compare."""
        strategies = tuple(name for name in ORDER if name in self.strategies or name in other.strategies)
        return self.model_copy(update={"strategies": strategies, "novel_curve": self.novel_curve or other.novel_curve})


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Hold what a reproduction is asked for.

    Attributes:
        targets: tables and figures.
        all_of_them: whether they were asked for as all that there is, so that what cannot be run is left out.
        datasets: names, in order.
        strategies: rows of tables; those that a table lacks are no rows of it.
        tune: trials of each search; 0 for none.
        tune_strategies: which strategies get a row that is tuned.
    """

    targets: tuple[str, ...]
    all_of_them: bool = False
    datasets: tuple[str, ...]
    learners: tuple[str, ...] = LEARNERS
    shots: tuple[int, ...] = (1, 5)
    strategies: tuple[str, ...] = ORDER
    tune: int = 0
    tune_strategies: tuple[str, ...] = ORDER


@dataclass(frozen=True)
class Plan:
    """Hold the comparisons of a reproduction, in the order in which they run, and what is left out, a sentence each."""

    units: list[Unit]
    left_out: list[str]


def make_plan(wanted: Wanted, datasets: Mapping[str, Dataset], ways: Mapping[str, int]) -> Plan:
    """Return what has to be run; strategies of a learner and a data set that several tables have are run once.

    Args:
        wanted: what is asked for.
        datasets: those of ``wanted`` that are at hand.
        ways: N on each of them.

    Raises:
        ConfigError: something that was asked for by name cannot be run, or nothing can.
    """
    units: dict[tuple[object, ...], Unit] = {}
    left_out: list[str] = []
    for target in wanted.targets:
        found, why_not = _units(target, wanted, datasets, ways)
        left_out += [f"{target}: {line}" for line in why_not]
        if not found and not wanted.all_of_them:
            raise ConfigError("\n".join(f"{target}: {line}" for line in why_not))
        for unit in found:
            known = units.get(unit.place)
            units[unit.place] = unit if known is None else known.joined(unit)
    if wanted.tune and not any(unit.tune for unit in units.values()):
        raise ConfigError(
            "`--tune` searches for rows of a table, and the figures show the method's own setting: leave it out."
        )
    if not units:
        raise ConfigError("\n".join(left_out))
    return Plan(sorted(units.values(), key=_turn), left_out)


def table_columns(table: PaperTable, datasets: Sequence[str], shots: Iterable[int]) -> list[Column]:
    """Return the columns of a table for the data sets that are asked for.

    Table 3 and the figures are on one data set: the paper's if it is among them, else the first.
    """
    chosen = tuple(shots)
    if table is TABLE2:
        return [Column(first, number, other) for first, other in _pairs(datasets) for number in chosen]
    names = datasets if table is TABLE1 else [main_dataset(datasets)]
    return [Column(name, number) for name in names for number in chosen]


def main_dataset(datasets: Sequence[str]) -> str:
    """Return the data set of Table 3 and the figures."""
    return DATASETS[0] if DATASETS[0] in datasets else datasets[0]


def _pairs(datasets: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return the pairs of Table 2: the paper's, and those with a data set that the paper has not."""
    papers = {(column.dataset, column.tested_on) for _, _, column in TABLE2.numbers}
    for first in datasets:
        for other in datasets:
            own = first not in DATASETS or other not in DATASETS
            if first != other and (own or (first, other) in papers):
                yield first, other


def growth_sizes(classes: int, ways: int) -> list[int]:
    """Return the numbers of base classes of Figure 4b, of ``classes``; none where there are too few for two clusters."""
    least = 2 * ways
    return [] if classes < least else sorted({max(least, round(share * classes)) for share in SHARES})


def table_strategies(table: PaperTable, learner: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the rows of a table for a learner."""
    return tuple(name for name in ORDER if name in table.strategies[learner] and name in wanted)


def _units(
    target: str, wanted: Wanted, datasets: Mapping[str, Dataset], ways: Mapping[str, int]
) -> tuple[list[Unit], list[str]]:
    """Return the comparisons of a table or a figure, and why some are not made."""
    if target in TABLES:
        return _table_units(TABLES[target], wanted, datasets)
    if FIGURE_LEARNER not in wanted.learners:
        return [], [f"it needs {FIGURE_LEARNER}, which --learners leaves out."]
    name = main_dataset(wanted.datasets)
    if name not in datasets:
        return [], [f"{name} is not at hand; --datasets NAME runs it on another."]
    unit = Unit(
        dataset=name,
        learner=FIGURE_LEARNER,
        shots=FIGURE_SHOTS,
        strategies=FIGURE_STRATEGIES,
        novel_curve=target == CURVE,
    )
    if target == CURVE:
        return [unit], []
    assert target == GROWTH
    classes = len(datasets[name].split.base)
    sizes = growth_sizes(classes, ways[name])
    if not sizes or sizes[-1] < 2 * sizes[0]:
        return [], [
            f"{name} has {classes} base classes, and a curve over smaller sets begins at {2 * ways[name]} (two clusters of "
            f"{ways[name]}) and needs twice as many; import it with more, or name another with --datasets."
        ]
    return [unit.model_copy(update={"base_classes": None if size == classes else size}) for size in reversed(sizes)], []


def _table_units(table: PaperTable, wanted: Wanted, datasets: Mapping[str, Dataset]) -> tuple[list[Unit], list[str]]:
    units, why_not = [], []
    columns = table_columns(table, wanted.datasets, wanted.shots)
    if not columns:
        why_not.append(
            "it is trained on one data set and tested on another: --datasets must name two whose examples are alike."
        )
    for column in columns:
        missing = [name for name in (column.dataset, column.tested_on) if name is not None and name not in datasets]
        if missing:
            why_not.append(f"{column.title}: {' and '.join(missing)} not at hand.")
            continue
        if column.tested_on is not None and not _alike(datasets[column.dataset], datasets[column.tested_on]):
            why_not.append(
                f"{column.title}: their examples have different shapes; import both with the same --image-size."
            )
            continue
        for learner in wanted.learners:
            rows = table_strategies(table, learner, wanted.strategies)
            tuned = tuple(name for name in rows if name in wanted.tune_strategies)
            shared = {
                "dataset": column.dataset,
                "learner": learner,
                "shots": column.shots,
                "tested_on": column.tested_on,
            }
            units += [Unit(strategies=rows, **shared)] if rows else []
            units += [Unit(strategies=tuned, tune=wanted.tune, **shared)] if tuned and wanted.tune else []
    return units, list(dict.fromkeys(why_not)) or ([] if units else ["none of its rows is in --strategies."])


def _alike(one: Dataset, other: Dataset) -> bool:
    first, second = one.table, other.table
    return first.shape == second.shape and first.examples.dtype == second.examples.dtype


def _turn(unit: Unit) -> tuple[object, ...]:
    """Return when a comparison runs: what costs least and tells most first."""
    return (
        LEARNERS.index(unit.learner),
        unit.shots,
        unit.base_classes is not None,
        unit.tune > 0,
        unit.tested_on is not None,
        DATASETS.index(unit.dataset) if unit.dataset in DATASETS else -1,
    )
