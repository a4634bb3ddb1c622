"""What is known about a trial from outside: read by the leaderboard, the export and MLflow, written by none of them."""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datg.errors import ConfigError
from datg.storage.files import read_yaml, write_json
from datg.trial.folder import (
    BEST,
    CONFIG,
    EVALUATION,
    FRESH_VALIDATION,
    NETWORK,
    ValidationReport,
    is_own_network,
    read_reports,
)

if TYPE_CHECKING:
    from datg.trial.config import TrialConfig

RUNNING, DONE, PRUNED, FAILED = "running", "done", "pruned", "failed"
SUCCESSES, FAILURES = ("finished", "collapsed"), ("diverged", "error", "failed")  # outcomes
OUTCOME = "outcome.json"  # how a trial of a search ended, for who reads its folder alone


@dataclass(frozen=True)
class Score:
    """Hold an evaluation of a trial's best weights.

    Attributes:
        accuracy: mean over tasks.
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
    """Hold what is known of one trial.

    Attributes:
        number: of the trial in its search, or the seed of a final training; -1 for a reference.
        state: running, done, pruned or failed.
        outcome: finer: finished, collapsed, pruned, diverged, error, failed; empty while running.
        searched: dotted keys and values of what was searched.
        tags: dataset, learner and so on, for the view.
        error: one line, if it failed.
        ended: when, in seconds since 1970.
        complete: whether nothing more will come: it has ended, and is evaluated if it has weights.
        reference: the name of a training that a search is measured against; empty for a trial.
    """

    number: int
    state: str
    outcome: str
    folder: Path
    searched: dict[str, Any]
    tags: dict[str, str]
    reports: list[ValidationReport] = field(default_factory=list)
    error: str = ""
    ended: float | None = None
    complete: bool = False
    reference: str = ""

    @property
    def key(self) -> str:
        """Return what tells it from the others of its search."""
        return self.reference or str(self.number)

    @cached_property
    def test(self) -> Score | None:
        """Return the final evaluation on novel classes, once it is there."""
        return read_score(self.folder / EVALUATION)

    @cached_property
    def fresh_validation(self) -> Score | None:
        """Return the score on validation tasks that influenced no choice; finalists alone get one."""
        return read_score(self.folder / FRESH_VALIDATION)

    @property
    def began(self) -> float | None:
        """Return about when it began, in seconds since 1970: its first validation less what it had taken until then."""
        return self.reports[0].time - self.reports[0].seconds if self.reports else self.ended

    @property
    def last(self) -> ValidationReport | None:
        """Return the last validation."""
        return self.reports[-1] if self.reports else None

    @property
    def objective(self) -> float | None:
        """Return the best validation accuracy so far."""
        return self.last.objective if self.last else None


@dataclass(frozen=True)
class TrialOutcome:
    """Hold what ``outcome.json`` says.

    Attributes:
        outcome: see :class:`TrialRecord`.
        error: one line, if it failed.
        ended: when, in seconds since 1970.
        final: whether that is its end; a trial whose machine failed goes on when the search is resumed.
    """

    outcome: str
    error: str = ""
    ended: float | None = None
    final: bool = True


def read_outcome(folder: Path) -> TrialOutcome | None:
    """Return how the trial in ``folder`` ended; None if it has not, or if that cannot be read."""
    try:
        return TrialOutcome(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def has_succeeded(folder: Path) -> bool:
    """Return whether the trial in ``folder`` has ended with weights that count."""
    outcome = read_outcome(folder)
    return outcome is not None and outcome.outcome in SUCCESSES


def write_outcome(folder: Path, outcome: TrialOutcome) -> None:
    """Write how a trial ended, unless that is what stands there."""
    saved = read_outcome(folder)
    if saved is None or replace(saved, ended=outcome.ended) != outcome:
        write_json(folder / OUTCOME, asdict(outcome))


def lacks_evaluation(folder: Path, file: str = EVALUATION) -> bool:
    """Return whether a trial's folder has best weights without the evaluation that is kept in ``file``."""
    return (folder / BEST).exists() and not (folder / file).exists()


def read_record(
    number: int, state: str, outcome: str, folder: Path, *, final: bool = True, **state_in_study: Any
) -> TrialRecord:
    """Complete what the caller knows with what stands in the trial's folder."""
    complete = state != RUNNING and final and not lacks_evaluation(folder)
    return TrialRecord(
        number, state, outcome, folder, reports=read_reports(folder), complete=complete, **state_in_study
    )


def read_trial(folder: Path, *, searched: dict[str, Any], tags: dict[str, str], reference: str = "") -> TrialRecord:
    """Read a trial of a search from its folder, which is called by its number, or a reference by its name."""
    noted = read_outcome(folder) or TrialOutcome("")
    return read_record(
        -1 if reference else int(folder.name),
        state_of(noted.outcome),
        noted.outcome,
        folder,
        searched=searched,
        tags=tags,
        error=noted.error,
        final=noted.final,
        ended=noted.ended,
        reference=reference,
    )


def state_of(outcome: str) -> str:
    """Return the state that an outcome stands for; an empty one is of a trial that runs."""
    if outcome in SUCCESSES:
        return DONE
    return FAILED if outcome in FAILURES else PRUNED if outcome else RUNNING


def read_score(path: Path) -> Score | None:
    """Return an evaluation's score, if there is one that can be read."""
    if not path.exists():
        return None
    from datg.trial.accuracies import load_evaluation  # imports pyarrow

    try:
        evaluation = load_evaluation(path)
        return Score(evaluation.mean, evaluation.ci95, len(evaluation.accuracies), path.stat().st_mtime)
    except (OSError, ValueError, KeyError):  # pyarrow's errors are of these kinds
        return None


def ranked(records: list[TrialRecord]) -> list[TrialRecord]:
    """Return trials with a validation score, best validation first (never by test accuracy), then by number."""
    scored = [record for record in records if record.objective is not None]
    return sorted(scored, key=lambda record: (-(record.objective or 0.0), record.number))


def read_config(folder: Path) -> dict[str, Any]:
    """Read a trial's configuration; if its file is damaged, from the header of its best weights.

    Raises:
        StateError: neither can be read.
    """
    try:
        config = read_yaml(folder / CONFIG)
    except ConfigError:
        from datg.storage.checkpoint import load_checkpoint  # imports torch

        config = load_checkpoint(folder / BEST)[1]["config"]
    return _with_network_here(config, folder.parent.parent / NETWORK / BEST)


def _with_network_here(config: dict[str, Any], network: Path) -> dict[str, Any]:
    """Name the network of a trial's search where it lies now, if the search's folder was moved."""
    strategy = config.get("strategy") or {}
    recorded = strategy.get("cluster_checkpoint")
    if is_own_network(recorded) and not Path(recorded).exists() and network.exists():
        return config | {"strategy": strategy | {"cluster_checkpoint": str(network)}}
    return config


def context_tags(config: "TrialConfig", search: str) -> dict[str, str]:
    """Return what every run of a search repeats, because MLflow filters see one run at a time."""
    other = config.evaluation.test_dataset
    fewer = {} if config.base_classes is None else {"base_classes": str(config.base_classes)}
    return (
        fewer
        | ({} if other is None else {"test_dataset": other})
        | {
            "dataset": config.dataset,
            "learner": config.learner_name,
            "strategy": config.strategy_name,
            "way": str(config.task.ways),
            "shot": str(config.task.shots),
            "seed": str(config.seed),
            "search": search,
        }
    )
