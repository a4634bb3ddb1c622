"""The stored study: a database that remembers what was decided, for the next driver and for everybody who wants to look.

Each write is a whole fact: a suggestion with all its values, a validation, then the decision on it, an end. The driver is the
only writer. `optuna-dashboard`, `optuna.load_study` and Optuna's plots read it while the search runs.

Optuna's study can suggest and tell, but not write a given value to a running trial of another process. For that this module
uses `RDBStorage`, whose methods are public but not meant for users: :data:`_METHODS` are checked when a study is opened.
"""

import contextlib
import logging
import sqlite3
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from datg.errors import ConfigError, StateError, without_password
from datg.search.study.outcomes import ERROR_ATTRIBUTE, OUTCOME_ATTRIBUTE, tell

SQLITE_TIMEOUT = 60  # seconds to wait for another process's lock
SETTINGS_ATTRIBUTE = "settings"  # attribute of the study: what the search was asked for
PRUNING = "pruning"  # attribute of a trial: its PruningState
METRIC = "validation accuracy"
REFERENCES = "-references"  # ends the name of the study that a search's references are kept in
_METHODS = (
    "get_study_id_from_name",
    "get_trial_id_from_study_id_trial_number",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "remove_session",
)
_WHAT_IS_LEFT = (
    "restore it from a copy. What its trials computed is still in trials/: config.yaml, progress.jsonl, best weights and "
    "evaluations, which datg status, evaluate and train read."
)


@dataclass(frozen=True)
class PruningState:
    """Hold the last validation that a driver took for a trial, and what was decided on it.

    Stored after every report, so that the next driver goes on from it.

    Attributes:
        step: number of that validation, from 1; 0 before the first.
        objective: the best accuracy so far, whose weights are kept.
        ci95: half-width of the objective's 95 % interval.
        prune: whether the trial is to end.
        notes: what the pruner has noted of the trial, by name.
    """

    step: int = 0
    objective: float | None = None
    ci95: float = 0.0
    prune: bool = False
    notes: dict[str, Any] = field(default_factory=dict)


def pruning_state(trial: FrozenTrial) -> PruningState:
    """Return what is stored of a trial's validations."""
    return PruningState(**trial.user_attrs.get(PRUNING, {}))


class StoredStudy:
    """Hold the study of one search in its database."""

    def __init__(self, storage: RDBStorage, study: optuna.Study) -> None:
        study.sampler = optuna.samplers.RandomSampler()  # suggests nothing here; others would work at each end
        self._storage, self._study = storage, study
        self._id = storage.get_study_id_from_name(study.study_name)
        self._trial_ids: dict[int, int] = {}

    @property
    def name(self) -> str:
        """Return the study's name."""
        return self._study.study_name

    @property
    def settings(self) -> dict[str, Any] | None:
        """Return what the search was asked for, as far as the study remembers it."""
        return self._study.user_attrs.get(SETTINGS_ATTRIBUTE)

    def remember(self, settings: dict[str, Any]) -> None:
        """Write down what the search was asked for."""
        self._study.set_user_attr(SETTINGS_ATTRIBUTE, settings)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number."""
        return self._study.get_trials(deepcopy=False)

    def add(self, trial: FrozenTrial) -> None:
        """Write a suggestion: a running trial with all its values, in one transaction."""
        self._study.add_trial(trial)

    def record_report(self, number: int, state: PruningState, accuracy: float) -> None:
        """Write a validation of a running trial, then what was decided on it."""
        trial_id = self._trial_id(number)
        self._storage.set_trial_intermediate_value(trial_id, state.step, float(accuracy))
        self._storage.set_trial_user_attr(trial_id, PRUNING, asdict(state))

    def record_decision(self, number: int, state: PruningState) -> None:
        """Write what was decided on a running trial without a validation."""
        self._storage.set_trial_user_attr(self._trial_id(number), PRUNING, asdict(state))

    def end(self, number: int, outcome: str, error: str, objective: float | None) -> None:
        """Write how a running trial ended; see :func:`~datg.search.study.outcomes.tell`."""
        self.note(number, outcome, error)
        tell(self._study, optuna.Trial(self._study, self._trial_id(number)), outcome, objective)

    def note(self, number: int, outcome: str, error: str) -> None:
        """Write what has become of a trial, which does not end it; an empty ``error``, too, since an earlier one may stand."""
        trial_id = self._trial_id(number)
        self._storage.set_trial_user_attr(trial_id, OUTCOME_ATTRIBUTE, outcome)
        self._storage.set_trial_user_attr(trial_id, ERROR_ATTRIBUTE, error)

    def add_reference(self, trial: FrozenTrial) -> None:
        """Write a reference that has ended into the study of the references, unless it stands there."""
        study = optuna.create_study(
            storage=self._storage, study_name=f"{self.name}{REFERENCES}", direction="maximize", load_if_exists=True
        )
        if all(kept.user_attrs != trial.user_attrs for kept in study.get_trials(deepcopy=False)):
            study.add_trial(trial)

    def fail_running_trials(self, error: str) -> list[int]:
        """End all running trials as failed, or as pruned where that has been decided; return their numbers."""
        running = [trial for trial in self.trials() if trial.state == TrialState.RUNNING]
        for trial in running:
            pruned = pruning_state(trial).prune
            self.end(trial.number, *(("pruned", "") if pruned else ("failed", error)), None)
        return [trial.number for trial in running]

    def _trial_id(self, number: int) -> int:
        if number not in self._trial_ids:
            self._trial_ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        return self._trial_ids[number]

    def release(self) -> None:
        """Give the calling thread's connection back, for the next thread to use."""
        self._storage.remove_session()

    def close(self) -> None:
        """Close every connection; other threads have released theirs."""
        _close(self._storage)

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close every connection if what follows raises."""
        try:
            yield
        except BaseException:
            self.close()
            raise


def sqlite_url(path: Path) -> str:
    """Return the storage URL of a study in ``path``."""
    return f"sqlite:///{path}"


def open_study(url: str, name: str, *, create: bool = False) -> StoredStudy:
    """Open the study ``name``; with ``create`` make it if it is not there.

    Raises:
        StateError: the study is missing or damaged, or its storage cannot be reached.
        ConfigError: the storage needs a driver that is not installed, or this Optuna is not one that the module knows.
    """
    _check_methods()
    with _translated(url):
        storage = _open_storage(url, create=create)
        try:
            stored = StoredStudy(
                storage, _make_study(storage, name) if create else optuna.load_study(study_name=name, storage=storage)
            )
            stored.trials()  # a damaged page is found only when it is read
        except BaseException:
            _close(storage)
            raise
        return stored


def _make_study(storage: RDBStorage, name: str) -> optuna.Study:
    """Return the study ``name``, made if it is not there."""
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([METRIC])
    return study


def _check_methods() -> None:
    missing = [name for name in _METHODS if not callable(getattr(RDBStorage, name, None))]
    if missing:
        raise ConfigError(
            f"optuna {optuna.__version__} has no RDBStorage.{missing[0]}, by which trials are stored; install one that is known "
            "to work: pip install 'optuna>=5,<6'."
        )


def is_empty(file: Path, name: str) -> bool:
    """Return whether no trial of the study ``name`` in ``file`` has ended: its first driver may have died while it made it.

    Raises:
        StateError: the file is a database that is damaged.
    """
    if not file.exists() or file.stat().st_size == 0:
        return True
    _check_sqlite(file)
    try:
        with contextlib.closing(open_study(sqlite_url(file), name)) as stored:
            return not any(trial.state.is_finished() for trial in stored.trials())
    except StateError:
        return True  # whole, but without the study


def recover_settings(url: str) -> dict[str, Any] | None:
    """Return what a search was asked for, if there is one study in the storage, or one beside that of its references."""
    with _translated(url):
        storage = _open_storage(url, create=False)
        try:
            summaries = optuna.get_all_study_summaries(storage)
        finally:
            _close(storage)
        remembered = [s.user_attrs[SETTINGS_ATTRIBUTE] for s in summaries if SETTINGS_ATTRIBUTE in s.user_attrs]
        return remembered[0] if len(remembered) == 1 else None


def _open_storage(url: str, *, create: bool) -> RDBStorage:
    optuna.logging.set_verbosity(logging.ERROR)
    if not url.startswith("sqlite"):
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})  # the server may have been restarted
    if not create:
        _check_sqlite(Path(url.removeprefix("sqlite:///")))
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": SQLITE_TIMEOUT}})


def _close(storage: RDBStorage) -> None:
    """Close every connection; left to the garbage collector, PostgreSQL's driver warns of them wherever it happens."""
    storage.remove_session()
    storage.engine.dispose()


def _check_sqlite(file: Path) -> None:
    """Refuse an empty file, which would pass for a new database, and one that is damaged anywhere."""
    if not file.exists() or file.stat().st_size == 0:
        what = "is empty" if file.exists() else "is missing"
        raise StateError(f"the study {file} {what}; {_WHAT_IS_LEFT}")
    with contextlib.closing(sqlite3.connect(file, timeout=SQLITE_TIMEOUT)) as connection:
        result = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != ("ok",):
        raise StateError(f"the study {file} is damaged ({str(result[0]).splitlines()[-1]}); {_WHAT_IS_LEFT}")


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn what a storage raises into one sentence without the URL's password."""
    where = without_password(url).removeprefix("sqlite:///")
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            "`--study-storage` needs a database driver that is not installed; for PostgreSQL: pip install 'datg[postgres]' and "
            "a URL that begins with postgresql+psycopg://."
        ) from error
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError, RuntimeError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        left = f"; {_WHAT_IS_LEFT}" if url.startswith("sqlite") else ""
        raise StateError(f"the study in {where} cannot be opened: {without_password(reason)}{left}") from error


def is_storage_failure(error: BaseException) -> bool:
    """Return whether ``error`` is the storage's fault: a full disk, a lock, a server that is gone."""
    return isinstance(error, SQLAlchemyError | sqlite3.Error | optuna.exceptions.StorageInternalError | OSError)
