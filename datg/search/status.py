"""What a search's folder tells: read by anybody, while the search runs and after a crash; the study is not needed."""

import os
import socket
import time
from dataclasses import asdict, dataclass
from typing import Any

from datg.claim import CLAIM, last_sign, read_claim
from datg.records import RUNNING, TrialRecord, ranked
from datg.search.folder import SearchFolder, read_driver
from datg.search.results import folder_records
from datg.search.settings import SearchSettings
from datg.search.telling import causes, how_to_resume
from datg.sizes import bytes_in
from datg.tracking.view import Unsent, count_unsent, read_sent

SILENT_SECONDS = 60.0  # without a sign of life a driver on another machine counts as dead


@dataclass(frozen=True, kw_only=True)
class Status:
    """A search as its folder shows it.

    Attributes:
        search: its name.
        driver: who drives it; empty if nobody does.
        running: where each running trial computes, its share done, and the age of its last sign of life in seconds.
        asked: trials wanted.
        outcomes: ended trials by outcome.
        evaluated: final evaluations done.
        best: trial, validation accuracy and its half-width; None before the first validation.
        causes: failures by cause, a line each.
        unsent: what MLflow lacks, as the driver last knew; None if nothing.
        bytes: that the folder takes.
        resume: the command to go on with it; None while it runs or when nothing is left to do.
    """

    search: str
    driver: str
    running: list[dict[str, Any]]
    asked: int
    outcomes: dict[str, int]
    evaluated: int
    best: dict[str, Any] | None
    causes: list[str]
    unsent: Unsent | None
    bytes: int
    resume: str | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def read_status(folder: SearchFolder) -> Status:
    """Reads the folder.

    Raises:
        StateError: ``search.yaml`` is damaged and no study beside it remembers it.
    """
    settings = SearchSettings.load(folder)
    records = folder_records(folder, settings)
    outcomes: dict[str, int] = {}
    for record in records:
        if record.state != RUNNING:
            outcomes[record.outcome] = outcomes.get(record.outcome, 0) + 1
    best = ranked(records)
    driver = _driver(folder)
    done = sum(outcomes.values()) >= settings.trials and all(record.complete for record in records)
    return Status(
        search=folder.name,
        driver=driver,
        running=[_running(record, settings) for record in records if record.state == RUNNING],
        asked=settings.trials,
        outcomes=outcomes,
        evaluated=sum(record.test is not None for record in records),
        best=_best(best[0]) if best else None,
        causes=causes(records),
        unsent=count_unsent(records, read_sent(folder.mlflow)),
        bytes=bytes_in(folder.path),
        resume=None if driver or done else how_to_resume(folder, settings),
    )


def _best(record: TrialRecord) -> dict[str, Any]:
    assert record.last is not None
    return {"trial": record.number, "validation": record.objective, "ci95": record.last.objective_ci95}


def _running(record: TrialRecord, settings: SearchSettings) -> dict[str, Any]:
    worker, signed = read_claim(record.folder / CLAIM), last_sign(record.folder / CLAIM)
    where = f"process {worker.pid} on {worker.host}" if worker is not None and worker.works else "nowhere yet"
    iterations = settings.trial_config.training.iterations
    return {
        "trial": record.number,
        "where": where,
        "done": (record.last.iteration if record.last else 0) / iterations,
        "silent": None if signed is None else max(0.0, time.time() - signed),
    }


def _driver(folder: SearchFolder) -> str:
    """Who drives the search, if somebody does: a process of this machine, or one elsewhere with a recent sign of life."""
    found = read_driver(folder)
    if not found:
        return ""
    here = found.get("host") == socket.gethostname()
    if here and not _alive(found.get("pid")):
        return ""
    if not here and time.time() - (last_sign(folder.driver) or 0.0) > SILENT_SECONDS:
        return ""
    return f"process {found.get('pid')} on {found.get('host')}"


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, TypeError, ValueError):
        return False
    return True
