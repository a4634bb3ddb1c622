"""The best trial of a search, those that cannot be told from it, and what the best is worth on fresh tasks.

The best validation accuracy of T trials, each the highest of its validations, all on the same tasks, is optimistic: the luck on
those tasks is selected, too. So the best and its ties, the finalists, are scored once more on validation tasks that no choice
has seen.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from datg.trial.accuracies import Accuracies, Mean, load_evaluation, over_tasks
from datg.trial.folder import BEST_VALIDATION, EVALUATION, FRESH_VALIDATION
from datg.trial.records import DONE, TrialRecord, lacks_evaluation, ranked

MOST_FINALISTS = 5


@dataclass(frozen=True)
class Selection:
    """Hold what a search would choose, by validation alone.

    Attributes:
        best: the finished trial with the highest validation accuracy; None before there is one.
        ties: finished trials whose paired difference to it has an interval that contains 0, the best first.
        of: how many trials have a score, pruned ones included.
    """

    best: TrialRecord | None = None
    ties: list[TrialRecord] = field(default_factory=list)
    of: int = 0

    @property
    def chosen(self) -> list[TrialRecord]:
        """Return the best and its ties."""
        return [] if self.best is None else [self.best, *self.ties]

    @property
    def finalists(self) -> list[TrialRecord]:
        """Return the best and its ties, at most :data:`MOST_FINALISTS`."""
        return self.chosen[:MOST_FINALISTS]

    @property
    def unscored(self) -> list[TrialRecord]:
        """Return the finalists that have no score on fresh validation tasks yet."""
        return [record for record in self.finalists if lacks_evaluation(record.folder, FRESH_VALIDATION)]

    def mark(self, number: int) -> str:
        """Return ``best``, ``tie`` or nothing for a trial."""
        if self.best is not None and number == self.best.number:
            return "best"
        return "tie" if any(record.number == number for record in self.ties) else ""


def select(records: Iterable[TrialRecord]) -> Selection:
    """Return what a search would choose among its trials so far; novel classes have no say."""
    order = ranked(list(records))
    finished = [record for record in order if record.state == DONE]
    if not finished:
        return Selection(of=len(order))
    best, *others = finished
    scores = _accuracies(best, BEST_VALIDATION)
    ties = [record for record in others if _may_tie(best, record) and _ties(scores, record)]
    return Selection(best, ties, len(order))


@dataclass(frozen=True)
class Gain:
    """Hold how far the best of a search is ahead of what it is measured against, paired by task.

    Attributes:
        over: the key of trial or reference.
        validation: on the tasks that the best was chosen by, so it is optimistic; None where one side has no score.
        novel: on tasks of novel classes, likewise.
        time: when both were known, in seconds since 1970.
    """

    over: str
    validation: Mean | None
    novel: Mean | None
    time: float


def gain(best: TrialRecord, reference: TrialRecord) -> Gain:
    """Return how far the best of a search is ahead of a reference, or of another trial."""
    return Gain(
        over=reference.reference or f"trial_{reference.number}",
        validation=difference(best, reference, BEST_VALIDATION),
        novel=difference(best, reference, EVALUATION),
        time=max(best.ended or 0.0, reference.ended or 0.0, best.last.time if best.last else 0.0),
    )


def difference(first: TrialRecord, second: TrialRecord, file: str) -> Mean | None:
    """Return how much better the first trial is in an evaluation, the mean of differences paired by task with its interval.

    Args:
        first: a trial.
        second: another one.
        file: the evaluation, in the folders of both; None is returned where it is missing, damaged or on other tasks.
    """
    return _paired(_accuracies(first, file), _accuracies(second, file))


def _paired(first: Accuracies | None, second: Accuracies | None) -> Mean | None:
    if first is None or second is None or len(first) != len(second):
        return None
    return over_tasks(first.astype(np.float64) - second)


def _may_tie(best: TrialRecord, other: TrialRecord) -> bool:
    """Return False where even the widest possible interval of the difference, a correlation of -1, does not hold 0."""
    assert best.last is not None and other.last is not None
    return best.last.objective - other.last.objective <= best.last.objective_ci95 + other.last.objective_ci95


def _ties(best: Accuracies | None, other: TrialRecord) -> bool:
    found = _paired(best, _accuracies(other, BEST_VALIDATION))
    return found is not None and found.holds_zero


def _accuracies(record: TrialRecord, file: str) -> Accuracies | None:
    try:
        return load_evaluation(record.folder / file).accuracies
    except (OSError, ValueError, KeyError):  # pyarrow's errors are of these kinds
        return None
