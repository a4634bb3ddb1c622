"""The table of a comparison: accuracies on novel classes, and differences paired task by task and seed by seed."""

import csv
import io
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datg.final_training.seeds import summarise
from datg.search.comparison.grid import Pair
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.storage.files import write_text
from datg.trial.evaluation import NORMAL_95, load_evaluation
from datg.trial.folder import EVALUATION
from datg.trial.records import DONE, TrialRecord

REFERENCES = ("vanilla", "datg")  # each row's difference to them is told
Accuracies = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """A paired difference of two accuracies, over tasks.

    Attributes:
        mean: of the differences.
        ci95: half-width of its 95 % interval.
    """

    mean: float
    ci95: float

    def __str__(self) -> str:
        """Return it with its sign and interval."""
        return f"{self.mean:+.4f} ± {self.ci95:.4f}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One strategy with one learner.

    Attributes:
        seeds: how many were evaluated.
        failures: outcomes of other seeds, and of those that collapsed.
        accuracy: on novel classes, mean over seeds and tasks.
        ci95: half-width of its 95 % interval over tasks.
        spread: standard deviation over seeds; None for fewer than two.
        differences: to each of :data:`REFERENCES`, on the tasks and seeds that both have.
    """

    learner: str
    strategy: str
    seeds: int
    failures: str
    accuracy: float | None = None
    ci95: float | None = None
    spread: float | None = None
    differences: dict[str, Difference | None] = field(default_factory=dict)


def compare(records: list[TrialRecord]) -> list[Row]:
    """Return the rows of a comparison, from the trials that have been evaluated so far."""
    groups: dict[Pair, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record.searched["learner"], record.searched["strategy"]), []).append(record)
    scores = {pair: _scores(group) for pair, group in groups.items()}
    return [_row(pair, group, scores) for pair, group in groups.items()]


def _scores(group: list[TrialRecord]) -> dict[int, Accuracies]:
    """Return `(tasks,)` accuracies by seed, of the trials that ended well."""
    return {
        record.searched["seed"]: load_evaluation(record.folder / EVALUATION).accuracies
        for record in group
        if record.state == DONE and record.test is not None
    }


def _row(pair: Pair, group: list[TrialRecord], scores: dict[Pair, dict[int, Accuracies]]) -> Row:
    learner, strategy = pair
    seed_scores = scores[pair]
    bad = [record.outcome for record in group if record.outcome not in ("", "finished")]
    failures = ", ".join(f"{bad.count(outcome)} {outcome}" for outcome in sorted(set(bad)))
    row = Row(learner=learner, strategy=strategy, seeds=len(seed_scores), failures=failures)
    if not seed_scores:
        return row
    summary = summarise(list(seed_scores.values()))
    differences = {
        name: paired(seed_scores, scores.get((learner, name), {})) for name in REFERENCES if name != strategy
    }
    return replace(row, accuracy=summary.mean, ci95=summary.ci95, spread=summary.spread, differences=differences)


def paired(first: dict[int, Accuracies], second: dict[int, Accuracies]) -> Difference | None:
    """Subtract `(tasks,)` accuracies by seed: the mean over common seeds of each task's difference; None without one."""
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    by_task = np.mean([first[seed].astype(np.float64) - second[seed] for seed in common], axis=0)
    return Difference(float(by_task.mean()), NORMAL_95 * float(by_task.std(ddof=1)) / len(by_task) ** 0.5)


def format_row(row: Row) -> dict[str, str]:
    """Return a row as a reader wants it."""
    return {
        "learner": row.learner,
        "strategy": row.strategy,
        "seeds": str(row.seeds),
        "novel accuracy": "" if row.accuracy is None else f"{row.accuracy:.4f} ± {row.ci95:.4f}",
        "deviation over seeds": "" if row.spread is None else f"{row.spread:.4f}",
        **{f"minus {name}": str(row.differences.get(name) or "") for name in REFERENCES},
        "remarks": row.failures,
    }


def row_values(row: Row) -> dict[str, Any]:
    """Return a row as a program wants it."""
    values = asdict(row)
    del values["differences"]
    for name in REFERENCES:
        difference = row.differences.get(name)
        values[f"minus_{name}"] = None if difference is None else difference.mean
        values[f"minus_{name}_ci95"] = None if difference is None else difference.ci95
    return values


def write_tables(folder: SearchFolder, settings: SearchSettings, records: list[TrialRecord]) -> None:
    """Write the table of a comparison as Markdown and as CSV into its folder."""
    rows = compare(records)
    write_text(folder.comparison("md"), _markdown(folder, settings, rows))
    table = io.StringIO()
    writer = csv.DictWriter(table, row_values(rows[0]).keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row_values(row) for row in rows)
    write_text(folder.comparison("csv"), table.getvalue())


def _markdown(folder: SearchFolder, settings: SearchSettings, rows: list[Row]) -> str:
    config = settings.config
    task, training = config.task, config.training
    lines = [
        f"{folder.name}: {config.dataset}, {config.backbone_name}, {task.ways}-way {task.shots}-shot, preset {training.preset}, "
        f"{training.iterations} iterations, {config.evaluation.test_tasks} tasks of novel classes, the same for every row. ± is "
        "the 95 % interval over tasks; differences are paired by task and seed.",
        "",
        _line(format_row(rows[0]).keys()),
        _line("---" for _ in format_row(rows[0])),
        *(_line(format_row(row).values()) for row in rows),
        "",
    ]
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
