"""Tables of trials: the best validation first."""

from typing import Any

from datg.trial.records import TrialRecord, ranked
from datg.trial.selection import Selection, select


def leaderboard(records: list[TrialRecord], *, selects: bool = True) -> list[dict[str, Any]]:
    """Return one row a trial as a program wants it, best validation first, then those without a score.

    Args:
        records: trials.
        selects: whether one of them is chosen, as in a search; a comparison chooses none.
    """
    selection = select(records) if selects else Selection()
    return [
        {"trial": record.number, "selection": selection.mark(record.number), **score_row(record), **record.searched}
        for record in in_order(records)
    ]


def format_leaderboard(records: list[TrialRecord]) -> list[dict[str, Any]]:
    """Return one row a trial for a terminal; the best and its ties are marked."""
    selection = select(records)
    return [_line(record, selection) for record in in_order(records)]


def in_order(records: list[TrialRecord]) -> list[TrialRecord]:
    """Return those with a score, the best first, then the others."""
    order = ranked(records)
    return [*order, *(record for record in records if record not in order)]


def _line(record: TrialRecord, selection: Selection) -> dict[str, Any]:
    row = score_row(record)
    return {
        "trial": f"{selection.mark(record.number)} {record.number}".strip(),
        **{key: row[key] for key in ("outcome", "validation", "validation ci95", "test", "test ci95")},
        "best at": "-" if record.last is None else f"{record.last.best_iteration}/{record.last.iteration}",
        **record.searched,
    }


def reference_row(record: TrialRecord) -> dict[str, Any]:
    """Return outcome (empty before the end) and scores of a reference as a program wants them."""
    scores = score_row(record)
    kept = ("validation", "validation ci95", "test", "test ci95", "episodes")
    return {"name": record.reference, "outcome": record.outcome, **{key: scores[key] for key in kept}}


def score_row(record: TrialRecord) -> dict[str, Any]:
    """Return outcome and scores of a trial as a program wants them."""
    last, test, fresh = record.last, record.test, record.fresh_validation
    return {
        "outcome": record.outcome or record.state,
        "validation": None if last is None else last.objective,
        "validation ci95": None if last is None else last.objective_ci95,
        "fresh validation": None if fresh is None else fresh.accuracy,
        "fresh validation ci95": None if fresh is None else fresh.ci95,
        "test": None if test is None else test.accuracy,
        "test ci95": None if test is None else test.ci95,
        "episodes": None if test is None else test.episodes,
        "iterations": 0 if last is None else last.iteration,
        "best at": None if last is None else last.best_iteration,
    }
