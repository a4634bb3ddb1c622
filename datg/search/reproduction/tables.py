"""The paper's tables from what has been run: rows with intervals beside the paper's numbers, and what became of its orderings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from datg.search.comparison.forms import describe_tuning
from datg.search.comparison.table import Scores, paired
from datg.search.reproduction.folder import ReproductionResults
from datg.search.reproduction.paper import Column, Ordering, PaperTable
from datg.search.reproduction.plan import Unit, table_columns, table_strategies
from datg.trial.accuracies import Summary, summarise
from datg.trial.records import DONE, RUNNING, TrialRecord

CONFIRMED, REFUTED, UNDECIDED, NOT_RUN = "confirmed", "refuted", "undecided", "not run"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Hold one accuracy of a table.

    Attributes:
        ours: on novel classes; None before any seed has been evaluated.
        tuned: of how many trials its configuration is the best; None where defaults were trained.
        paper: what the paper prints; None where it has nothing.
        misprinted: whether that is a misprint.
        remark: why there is nothing, or what happened to seeds.
    """

    column: Column
    learner: str
    strategy: str
    ours: Summary | None = None
    tuned: int | None = None
    paper: float | None = None
    misprinted: bool = False
    remark: str = ""

    @property
    def difference(self) -> float | None:
        """Return ours minus the paper's, if both are there and the paper's is no misprint."""
        if self.ours is None or self.paper is None or self.misprinted:
            return None
        return self.ours.mean - self.paper


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Hold what became of something that the paper says, as a difference that it says is above 0.

    Attributes:
        text: what is claimed.
        where: data set, learner and shots.
        difference: paired by task and by seed; None where no seed has both.
        quick: whether it was only looked at quickly, which decides nothing.
    """

    text: str
    where: str
    difference: Summary | None
    quick: bool = False

    @property
    def verdict(self) -> str:
        """Return confirmed or refuted if Student's 95 % interval over seeds excludes 0, else undecided; or not run."""
        found = self.difference
        if found is None:
            return NOT_RUN
        if self.quick or found.seeds_ci95 is None or abs(found.mean) <= found.seeds_ci95:
            return UNDECIDED
        return CONFIRMED if found.mean > 0 else REFUTED


@dataclass(frozen=True)
class ReproducedTable:
    """Hold a table of the paper as it came out here, and the comparisons that it was made from."""

    table: PaperTable
    rows: list[Row]
    claims: list[Claim]
    units: list[Unit]


def reproduce_table(table: PaperTable, results: ReproductionResults) -> ReproducedTable:
    """Return a table from the trainings that have been evaluated so far; what has not run is an empty row."""
    rows, claims, used = [], [], []
    for column in table_columns(table, results.reproduction.datasets, results.reproduction.shots):
        for learner in results.reproduction.learners:
            units = [unit for unit in results.reproduction.units if _is_of(unit, column, learner)]
            used += units
            if units:
                rows += [row for unit in units for row in _rows(table, column, unit, results)]
                claims += [claim for unit in units for claim in _claims(table, column, unit, results)]
            else:
                rows += list(_missing(table, column, learner, results))
    return ReproducedTable(table, rows, claims, used)


def _is_of(unit: Unit, column: Column, learner: str) -> bool:
    return (unit.dataset, unit.shots, unit.tested_on, unit.learner, unit.base_classes) == (
        column.dataset,
        column.shots,
        column.tested_on,
        learner,
        None,
    )


def _rows(table: PaperTable, column: Column, unit: Unit, results: ReproductionResults) -> Iterator[Row]:
    scores, settings = results.scores(unit), results.settings(unit)
    for name in _rows_of(table, unit, results):
        records = [record for record in results.records(unit) if record.searched["strategy"] == name]
        bad = [record.outcome for record in records if record.outcome not in ("", "finished")]
        remarks = [f"{bad.count(outcome)} {outcome}" for outcome in sorted(set(bad))]
        lost = sum(record.state not in (RUNNING, DONE) for record in records)
        if lacking := results.reproduction.seeds - len(scores[name]) - lost:
            remarks.append(
                "not run yet" if settings is None else f"{lacking} of {results.reproduction.seeds} seeds to go"
            )
        ways = None if settings is None else settings.config.task.ways
        if ways not in (None, column.ways) and table.number(unit.learner, name, column) is not None:
            remarks.append(f"{ways}-way; the paper's is {column.ways}-way")
        row = _row(
            table, column, unit.learner, name, scores[name], tuned=_tuned(unit, records), remark=", ".join(remarks)
        )
        yield row if ways in (None, column.ways) else replace(row, paper=None)


def _tuned(unit: Unit, records: list[TrialRecord]) -> int | None:
    """Return of how many trials a row's configuration is the best, 0 where a search found none; None without a search."""
    return records[0].searched.get("tuned") if records else (unit.tune or None)


def _missing(table: PaperTable, column: Column, learner: str, results: ReproductionResults) -> Iterator[Row]:
    lacking = [name for name in (column.dataset, column.tested_on) if name in results.reproduction.missing]
    remark = f"not at hand: {', '.join(lacking)}" if lacking else "left out"
    for name in table_strategies(table, learner, results.reproduction.strategies):
        yield _row(table, column, learner, name, {}, tuned=None, remark=remark)


def _row(
    table: PaperTable,
    column: Column,
    learner: str,
    strategy: str,
    scores: Scores,
    *,
    tuned: int | None,
    remark: str,
) -> Row:
    paper = table.number(learner, strategy, column)
    return Row(
        column=column,
        learner=learner,
        strategy=strategy,
        ours=summarise(list(scores.values())) if scores else None,
        tuned=tuned,
        paper=paper,
        misprinted=paper in table.misprints,
        remark=remark,
    )


def _claims(table: PaperTable, column: Column, unit: Unit, results: ReproductionResults) -> Iterator[Claim]:
    scores = results.scores(unit)
    for ahead, behind in _orderings(table, unit, results):
        of = {
            name: _tuned(unit, [one for one in results.records(unit) if one.searched["strategy"] == name])
            for name in (ahead, behind)
        }
        told = [f"{name} {describe_tuning(trials)}" for name, trials in of.items() if trials is not None]
        tuned = "".join(f", {one}" for one in told)
        yield Claim(
            text=f"{ahead} is ahead of {behind}",
            where=f"{column.title}, {unit.learner}, {column.shots}-shot{tuned}",
            difference=paired(scores[ahead], scores[behind]),
        )


def _rows_of(table: PaperTable, unit: Unit, results: ReproductionResults) -> tuple[str, ...]:
    """Return what of a comparison is a row of the table; a figure may have added strategies to it."""
    wanted = [name for name in unit.strategies if name in results.reproduction.strategies]
    return table_strategies(table, unit.learner, wanted)


def _orderings(table: PaperTable, unit: Unit, results: ReproductionResults) -> list[Ordering]:
    rows = _rows_of(table, unit, results)
    return [(ahead, behind) for ahead, behind in table.orderings if ahead in rows and behind in rows]
