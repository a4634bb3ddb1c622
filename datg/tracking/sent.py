"""What MLflow has of a search, and what it lacks: known from files, without MLflow."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from datg.trial.folder import EVALUATION, ValidationReport
from datg.trial.records import TrialRecord

TEST_POINTS = 2  # of a final evaluation


@dataclass
class Sent:
    """Hold what MLflow has, as the driver last knew; kept in a file beside the search.

    Attributes:
        parent: the id of the run above.
        trials: ids of the runs by the key of trial or reference.
        points: validations sent, likewise.
        complete: keys of trials of which nothing more will come.
    """

    experiment: str = ""
    parent: str = ""
    trials: dict[str, str] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    complete: list[str] = field(default_factory=list)


def read_sent(path: Path) -> Sent:
    """Read what :class:`MlflowView` wrote; a file that is missing or damaged says that nothing was sent."""
    try:
        sent = Sent(**json.loads(path.read_text(encoding="utf-8")))
        sent.complete = [str(key) for key in sent.complete]  # earlier versions wrote numbers
    except (OSError, ValueError, TypeError):
        return Sent()
    return sent


def runs_by_trial(path: Path) -> dict[int, str]:
    """Return the ids of the MLflow runs that show trials, by trial number, from the file that :class:`Sent` is kept in."""
    return {int(key): run for key, run in read_sent(path).trials.items() if key.isdigit()}


@dataclass(frozen=True)
class Unsent:
    """Hold what MLflow lacks.

    Attributes:
        points: metric points.
        trials: that they belong to.
        total: metric points there are.
    """

    points: int
    trials: int
    total: int

    def __str__(self) -> str:
        """Return it in words."""
        if not self.total:
            return "some results"
        return f"{self.points} of {self.total} metric points, of {self.trials} trials"


def count_unsent(records: list[TrialRecord], sent: Sent) -> Unsent | None:
    """Return what MLflow lacks of ``records``; None if it has everything."""
    points = total = trials = 0
    for record in records:
        recorded, key = points_in(record), record.key
        missing = 0 if key in sent.complete else recorded - points_in(record, sent.points.get(key, 0))
        total += recorded
        points += missing
        trials += missing > 0 or (record.complete and key not in sent.complete)
    return Unsent(points, trials, total) if trials else None


def metric_values(entry: ValidationReport) -> dict[str, float]:
    """Return what MLflow shows of one validation, by the names of the metrics."""
    values = {f"train/{name}": value for name, value in entry.losses.items()}
    best = {"val/best_accuracy": entry.objective, "best_iteration": float(entry.best_iteration)}
    return {"objective": entry.objective, "val/accuracy": entry.accuracy, "val/ci95": entry.ci95, **best, **values}


def points_in(record: TrialRecord, validations: int | None = None) -> int:
    """Return how many metric points a trial has, or its first ``validations`` validations alone."""
    points = sum(len(metric_values(entry)) for entry in record.reports[:validations])
    return points + (TEST_POINTS if validations is None and (record.folder / EVALUATION).exists() else 0)
