"""Tables of trials: the best validation first."""

from typing import Any

from datg.trial.records import TrialRecord, ranked


def leaderboard(records: list[TrialRecord]) -> list[dict[str, Any]]:
    """Return one row a trial, best validation first, then those without a score."""
    order = ranked(records)
    return [_row(record) for record in [*order, *(record for record in records if record not in order)]]


def _row(record: TrialRecord) -> dict[str, Any]:
    return {"trial": record.number, **score_row(record), **record.searched}


def score_row(record: TrialRecord) -> dict[str, Any]:
    """Return outcome and scores of a trial, for a table."""
    last, test = record.last, record.test
    return {
        "outcome": record.outcome or record.state,
        "validation": None if last is None else last.objective,
        "validation ci95": None if last is None else last.objective_ci95,
        "test": None if test is None else test.accuracy,
        "test ci95": None if test is None else test.ci95,
        "episodes": None if test is None else test.episodes,
        "iterations": 0 if last is None else last.iteration,
    }
