"""What a search's folder tells: read by anybody, while the search runs and after a crash; the study is not needed."""

import contextlib
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datg.config import flatten
from datg.errors import ConfigError, StateError
from datg.report.leaderboard import leaderboard, reference_row
from datg.runtime.called import how_to_resume
from datg.search.state.folder import SearchFolder, active_driver
from datg.search.state.inbox import Inbox
from datg.storage.disk_size import total_size
from datg.storage.files import read_yaml
from datg.storage.lease import TRIAL_LEASE, last_heartbeat, read_lease
from datg.tracking.sent import Unsent, count_unsent, read_sent
from datg.trial.folder import EVALUATION, Now, read_now
from datg.trial.records import FAILED, RUNNING, TrialRecord, ranked, read_config, read_trial
from datg.trial.selection import Selection, select

SHOWN_NUMBERS = 12  # of trials with one cause


@dataclass(frozen=True, kw_only=True)
class Status:
    """Hold a search as its folder shows it.

    Attributes:
        driver: who drives it; empty if nobody does.
        running: where each running trial computes, its share done, and the age of its last sign of life in seconds.
        asked: trials wanted.
        outcomes: trials by outcome that have ended, or were broken by their machines.
        evaluated: final evaluations done.
        best: of the finished trials, or while there is none of the running ones: number, validation accuracy and its half-width,
            of how many trials it is the best, those that tie with it, and its accuracy on fresh validation tasks; None before the
            first validation, and for a comparison, which selects nothing.
        references: what the search is measured against: name, outcome (empty before the end), accuracy on validation tasks and on
            novel classes.
        searches: names of those that a comparison begins with, and of these the ones that are not done.
        causes: failures by cause, a line each.
        requests: of users, that the driver has not dealt with yet, a line each.
        unsent: what MLflow lacks, as the driver last knew; None if nothing.
        bytes: that the folder takes.
        done: whether nothing is left to do.
        resume: the command to go on with it; None while it runs or when nothing is left to do.
    """

    search: str
    driver: str
    running: list[dict[str, Any]]
    asked: int
    outcomes: dict[str, int]
    evaluated: int
    best: dict[str, Any] | None
    references: list[dict[str, Any]]
    searches: dict[str, list[str]]
    causes: list[str]
    requests: list[str]
    unsent: Unsent | None
    bytes: int
    done: bool
    resume: str | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def read_status(folder: SearchFolder) -> Status:
    """Read the folder.

    Raises:
        StateError: ``search.yaml`` is damaged and no study beside it remembers it.
    """
    asked = _read_asked(folder)
    records = _records(folder)
    outcomes: dict[str, int] = {}
    for record in records:
        if record.state != RUNNING:
            outcomes[record.outcome] = outcomes.get(record.outcome, 0) + 1
    selection = Selection() if asked.comparison else select(records)
    driver = active_driver(folder)
    references = [_reference(folder, name) for name in asked.references]
    missing = [name for name in asked.searches if not asked.tuned and not _is_done(folder.beside(name))]
    done = _nothing_left(asked, records, references, selection)
    return Status(
        search=folder.name,
        driver=driver,
        running=[_running(record, asked.iterations) for record in records if record.state == RUNNING],
        asked=asked.trials,
        outcomes=outcomes,
        evaluated=sum((record.folder / EVALUATION).exists() for record in records),
        best=None if asked.comparison else _best(selection, records),
        references=[reference_row(record) for record in references],
        searches={"all": asked.searches, "missing": missing} if asked.searches else {},
        causes=causes(records),
        requests=[request.describe() for request in Inbox(folder).pending()],
        unsent=count_unsent(records + _begun(references), read_sent(folder.mlflow)),
        bytes=total_size(folder.path),
        done=done,
        resume=None if driver or done else asked.resume,
    )


def _records(folder: SearchFolder) -> list[TrialRecord]:
    return [read_trial(folder.trial(number), searched={}, tags={}) for number in folder.trial_numbers()]


def trial_rows(folder: SearchFolder) -> list[dict[str, Any]]:
    """Return one row a trial as a program wants them, best validation first, with the values that were searched.

    Raises:
        StateError: as :func:`read_status`.
    """
    asked, records = _read_asked(folder), []
    for record in _records(folder):
        with contextlib.suppress(StateError):  # of a trial that is damaged the rest is shown
            values = flatten(read_config(record.folder))
            record = replace(record, searched={key: values.get(key) for key in asked.searched})
        records.append(record)
    return leaderboard(records, selects=not asked.comparison)


def _nothing_left(
    asked: "_Asked", records: list[TrialRecord], references: list[TrialRecord], selection: Selection
) -> bool:
    """Return whether trials and references have ended and been evaluated, the finalists twice."""
    ended = sum(record.state != RUNNING for record in records)
    complete = all(record.complete for record in [*records, *references])
    return ended >= asked.trials and complete and not selection.unscored


def _is_done(folder: SearchFolder) -> bool:
    try:
        asked = _read_asked(folder)
    except StateError:  # it is not there, or damaged
        return False
    records, references = _records(folder), [_reference(folder, name) for name in asked.references]
    return _nothing_left(asked, records, references, select(records))


def causes(records: list[TrialRecord]) -> list[str]:
    """Return failures by cause, the most frequent first, a line each."""
    trials_by_cause: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        if record.state == FAILED:
            trials_by_cause[record.outcome, record.error].append(record.number)
    lines = []
    for (outcome, error), numbers in sorted(trials_by_cause.items(), key=lambda entry: -len(entry[1])):
        listed = ", ".join(map(str, numbers[:SHOWN_NUMBERS])) + (", ..." if len(numbers) > SHOWN_NUMBERS else "")
        lines.append(f"{len(numbers)} x {outcome}: {error or 'no reason was given'} (trial {listed})")
    return lines


@dataclass(frozen=True)
class _Asked:
    """Hold what the status needs of a search's settings.

    Attributes:
        comparison: whether it is a comparison, which selects nothing.
        references: names of what it is measured against.
        searches: names of those that a comparison begins with.
        tuned: whether they are all done.
        searched: dotted keys of what differs between the trials.
        resume: the command that goes on with it.
    """

    trials: int
    iterations: int
    comparison: bool
    references: list[str]
    searches: list[str]
    tuned: bool
    searched: list[str]
    resume: str


def _read_asked(folder: SearchFolder) -> _Asked:
    """Read a few values of ``search.yaml`` unchecked: checking them all takes seconds of imports."""
    with contextlib.suppress(ConfigError, KeyError, TypeError, ValueError):
        return _asked(folder.path, read_yaml(folder.settings))
    from datg.search.settings import SearchSettings

    return _asked(folder.path, SearchSettings.load(folder).model_dump())


def _asked(folder: Path, given: dict[str, Any]) -> _Asked:
    comparison, above = bool(given["grid"]), str(given.get("comparison", ""))
    tuning = given.get("tuning") or {}
    return _Asked(
        trials=int(given["trials"]),
        iterations=int(given["config"]["training"]["iterations"]),
        comparison=comparison,
        references=list(given.get("references", {})),
        searches=[search for names in tuning.get("searches", {}).values() for search in names],
        tuned=bool(given.get("tuned")),
        searched=["learner.name", "strategy.name", "seed"] if comparison else list(given["space"]),
        resume=how_to_resume(folder, above=above, comparison=comparison, external=bool(given["external_study"])),
    )


def _best(selection: Selection, records: list[TrialRecord]) -> dict[str, Any] | None:
    record = selection.best or next(iter(ranked([record for record in records if record.state == RUNNING])), None)
    if record is None or record.last is None:
        return None
    fresh = record.fresh_validation
    return {
        "trial": record.number,
        "validation": record.objective,
        "ci95": record.last.objective_ci95,
        "of": selection.of,
        "ties": [tie.number for tie in selection.ties],
        "fresh validation": None if fresh is None else fresh.accuracy,
    }


def _reference(folder: SearchFolder, name: str) -> TrialRecord:
    return read_trial(folder.reference(name), searched={}, tags={}, reference=name)


def _begun(references: list[TrialRecord]) -> list[TrialRecord]:
    return [record for record in references if record.folder.exists()]


def _running(record: TrialRecord, iterations: int) -> dict[str, Any]:
    worker, signed = read_lease(record.folder / TRIAL_LEASE), last_heartbeat(record.folder / TRIAL_LEASE)
    where = f"process {worker.pid} on {worker.host}" if worker is not None and worker.is_active else "nowhere yet"
    now, reported = read_now(record.folder) or Now(0), record.last.iteration if record.last else 0
    return {
        "trial": record.number,
        "where": where,
        "done": max(now.iteration, reported) / iterations,
        "validating": now.validated > 0 and now.iteration > reported,
        "silent": None if signed is None else max(0.0, time.time() - signed),
    }
