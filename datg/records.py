"""What is known about a trial from outside: read by the leaderboard, the export and MLflow, written by none of them."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datg.evaluation import load_evaluation
from datg.files import write_json
from datg.final_evaluation import EVALUATION
from datg.trial import BEST, Progress, read_progress

RUNNING, DONE, PRUNED, FAILED = "running", "done", "pruned", "failed"
OUTCOME = "outcome.json"  # how a trial of a search ended, for who reads its folder alone


@dataclass(frozen=True)
class TestScore:
    """The final evaluation.

    Attributes:
        accuracy: mean over tasks of novel classes.
        ci95: half-width of its 95 % interval over tasks.
        episodes: how many tasks.
        time: when it was written, in seconds since 1970.
    """

    accuracy: float
    ci95: float
    episodes: int
    time: float


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: of the trial in its search, or the seed of a final training.
        state: running, done, pruned or failed.
        outcome: finer: finished, collapsed, pruned, diverged, error, failed; empty while running.
        folder: of its files.
        searched: dotted keys and values of what was searched.
        tags: dataset, learner and so on, for the view.
        progress: its validations.
        test: the final evaluation, once there.
        error: one line, if it failed.
        ended: when, in seconds since 1970.
    """

    number: int
    state: str
    outcome: str
    folder: Path
    searched: dict[str, Any]
    tags: dict[str, str]
    progress: list[Progress] = field(default_factory=list)
    test: TestScore | None = None
    error: str = ""
    ended: float | None = None

    @property
    def last(self) -> Progress | None:
        """The last validation."""
        return self.progress[-1] if self.progress else None

    @property
    def objective(self) -> float | None:
        """The best validation accuracy so far."""
        return self.last.objective if self.last else None

    @property
    def complete(self) -> bool:
        """Whether nothing more will come: it has ended, and is evaluated if it has weights."""
        return self.state != RUNNING and (self.test is not None or not (self.folder / BEST).exists())


@dataclass(frozen=True)
class Note:
    """What ``outcome.json`` says.

    Attributes:
        outcome: see :class:`TrialRecord`.
        error: one line, if it failed.
        ended: when, in seconds since 1970.
    """

    outcome: str
    error: str = ""
    ended: float | None = None


def read_note(folder: Path) -> Note | None:
    """How the trial in ``folder`` ended; None if it has not, or if that cannot be read."""
    try:
        return Note(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_note(folder: Path, note: Note) -> None:
    """Writes how a trial ended, unless that is what stands there."""
    if read_note(folder) != note:
        write_json(folder / OUTCOME, asdict(note))


def lacks_evaluation(folder: Path) -> bool:
    """Whether a trial's folder has weights that have not been evaluated on novel classes."""
    return (folder / BEST).exists() and not (folder / EVALUATION).exists()


def read_record(number: int, state: str, outcome: str, folder: Path, **known: Any) -> TrialRecord:
    """Completes what the caller knows with what stands in the trial's folder."""
    return TrialRecord(number, state, outcome, folder, progress=read_progress(folder), test=read_test(folder), **known)


def read_test(folder: Path) -> TestScore | None:
    """The final evaluation in a trial's folder, if there is one that can be read."""
    path = folder / EVALUATION
    try:
        found = load_evaluation(path)
        return TestScore(found.mean, found.ci95, len(found.accuracies), path.stat().st_mtime)
    except (OSError, ValueError, KeyError):  # pyarrow's errors are of these kinds
        return None


def ranked(records: list[TrialRecord]) -> list[TrialRecord]:
    """Trials with a validation score, best validation first (never by test accuracy), then by number."""
    scored = [record for record in records if record.objective is not None]
    return sorted(scored, key=lambda record: (-(record.objective or 0.0), record.number))
