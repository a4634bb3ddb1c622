"""The Optuna study of a search: the one record of what was asked, reported, pruned, finished and failed."""

import contextlib
import logging
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages._rdb.models import TrialSystemAttributeModel
from optuna.trial import FrozenTrial
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from datg.errors import ConfigError, StateError, unknown_name, without_password
from datg.search.sole_writer import SoleWriterStorage
from datg.seeding import derive_seed

SQLITE_TIMEOUT = 60  # seconds to wait for another process's lock
SETTINGS = "settings"  # the study's attribute that remembers what the search was asked for
RUNG = "completed_rung_"  # how optuna's successive halving calls its notes
RELATIVE_PARAMS = ":relative_params"  # and how its samplers call theirs
_WHAT_IS_LEFT = (
    "restore it from a copy. What its trials computed is still in trials/: config.yaml, progress.jsonl, best weights and "
    "evaluations, which launchers/status.py, evaluate.py and train.py read."
)


@dataclass(frozen=True)
class Draw:
    """What a sampler is made for.

    Attributes:
        seed: of this draw alone.
        search_seed: of all draws of a search.
        number: of the trial.
        trials: in all.
    """

    seed: int
    search_seed: int
    number: int
    trials: int

    @property
    def startup(self) -> int:
        """Random trials before a model is asked: a search of a dozen would otherwise be random from end to end."""
        return max(2, min(10, self.trials // 2))


class _NumberedQmcSampler(optuna.samplers.QMCSampler):
    """Takes a trial's number as its place in the sequence; the published one counts in the study how often it was asked."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(
            seed=draw.search_seed,  # all points belong to one sequence
            scramble=True,
            warn_independent_sampling=False,
            independent_sampler=optuna.samplers.RandomSampler(seed=draw.seed),
        )
        self._number = draw.number

    def _find_sample_id(self, study: optuna.Study, search_space: Any) -> int:
        return self._number


def _qmc(draw: Draw) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _NumberedQmcSampler(draw)


def _cmaes(draw: Draw) -> BaseSampler:
    from datg.search.json_cmaes import JsonCmaEsSampler  # its import takes most of a second

    return JsonCmaEsSampler(seed=draw.seed, warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[[Draw], BaseSampler]] = {
    "tpe": lambda draw: optuna.samplers.TPESampler(seed=draw.seed, n_startup_trials=draw.startup),
    "gp": lambda draw: optuna.samplers.GPSampler(seed=draw.seed, n_startup_trials=draw.startup),
    "cmaes": _cmaes,
    "random": lambda draw: optuna.samplers.RandomSampler(seed=draw.seed),
    "qmc": _qmc,
}

# Steps are validations: 1, 2, ... up to the number that a full trial has.
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "halving": lambda steps: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=max(1, steps // 4), reduction_factor=2
    ),
    "hyperband": lambda steps: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=steps, reduction_factor=3),
    "median": lambda steps: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, steps // 4)),
    "none": lambda steps: optuna.pruners.NopPruner(),
}


def check_names(sampler: str, pruner: str) -> None:
    """Raises ConfigError unless both are known."""
    if sampler not in SAMPLERS:
        raise ConfigError("`--sampler` is wrong: " + unknown_name("sampler", sampler, SAMPLERS))
    if pruner not in PRUNERS:
        raise ConfigError("`--pruner` is wrong: " + unknown_name("pruner", pruner, PRUNERS))


def sqlite_url(path: Path) -> str:
    """The storage URL of a study in ``path``."""
    return f"sqlite:///{path}"


def sampler_for(name: str, seed: int, number: int, trials: int, key: str = "") -> BaseSampler:
    """The sampler that suggests trial ``number``, or what of it is drawn for itself: the value of ``key``.

    It is made anew every time, from a seed of its own: what it suggests depends on the study alone, and not on how often the
    search was interrupted, even between two values of one trial.
    """
    own, common = (derive_seed(seed, "sampler", *path) % 2**32 for path in ((number, key), ()))
    return SAMPLERS[name](Draw(own, common, number, trials))


def open_study(url: str, name: str, *, create: bool = False, pruner: str = "none", steps: int = 1) -> optuna.Study:
    """Opens the study ``name``; with ``create`` makes it if it is not there.

    Raises:
        StateError: the study is missing or damaged, or its storage cannot be reached.
        ConfigError: the storage needs a driver that is not installed.
    """
    with _translated(url):
        storage = _storage(url, create=create)
        if create:
            study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        else:
            study = optuna.load_study(storage=storage, study_name=name)
        study.get_trials(deepcopy=False)
    study.pruner = PRUNERS[pruner](steps)
    return study


def holds_nothing(file: Path, name: str) -> bool:
    """Whether no trial of the study ``name`` in ``file`` has ended: its first driver died before, perhaps while it made it.

    Raises:
        StateError: the file is a database that is damaged.
    """
    if not file.exists() or file.stat().st_size == 0:
        return True
    _check_sqlite(file)
    try:
        trials = open_study(sqlite_url(file), name).get_trials(deepcopy=False)
    except StateError:
        return True  # whole, but without the study
    return not any(trial.state.is_finished() for trial in trials)


def only_settings(url: str) -> dict[str, Any] | None:
    """What a search was asked for, as its study remembers it: if there is one study in the storage, and it does."""
    with _translated(url):
        summaries = optuna.get_all_study_summaries(_storage(url, create=False))
        return summaries[0].user_attrs.get(SETTINGS) if len(summaries) == 1 else None


def _storage(url: str, *, create: bool) -> SoleWriterStorage:
    optuna.logging.set_verbosity(logging.ERROR)
    if not url.startswith("sqlite"):
        options: dict[str, Any] = {"pool_pre_ping": True}  # the server may have been restarted
        return SoleWriterStorage(optuna.storages.RDBStorage(url, engine_kwargs=options))
    file = Path(url.removeprefix("sqlite:///"))
    if not create:
        _check_sqlite(file)
    options = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
    return SoleWriterStorage(optuna.storages.RDBStorage(url, engine_kwargs=options))


def _check_sqlite(file: Path) -> None:
    """An empty file would pass for a new database; a page that is damaged would be found only when it is read."""
    if not file.exists() or file.stat().st_size == 0:
        what = "is empty" if file.exists() else "is missing"
        raise StateError(f"the study {file} {what}; {_WHAT_IS_LEFT}")
    with contextlib.closing(sqlite3.connect(file, timeout=SQLITE_TIMEOUT)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise StateError(f"the study {file} is damaged ({str(found[0]).splitlines()[-1]}); {_WHAT_IS_LEFT}")


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turns what a storage throws into one sentence without the URL's password."""
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
    """Whether ``error`` is the storage's fault: a full disk, a lock, a server that is gone."""
    return isinstance(error, SQLAlchemyError | sqlite3.Error | optuna.exceptions.StorageInternalError | OSError)


def forget_rungs(study: optuna.Study, trial: FrozenTrial, known: int) -> None:
    """Takes back what a pruner noted while it decided on the last report of ``trial``, beyond its first ``known`` rungs.

    A driver that dies between such a note and its decision would otherwise pass the rung without a decision.
    """
    _forget(study, trial, lambda key: key.startswith(RUNG) and int(key.removeprefix(RUNG)) >= known)


def forget_suggestion(study: optuna.Study, trial: FrozenTrial) -> None:
    """Takes back what a sampler noted while it suggested ``trial``, for others to see.

    A driver that dies between such a note and the values would otherwise have the trial count among the others, as its own
    neighbour.
    """
    _forget(study, trial, lambda key: RELATIVE_PARAMS in key)


def _forget(study: optuna.Study, trial: FrozenTrial, unwanted: Callable[[str], bool]) -> None:
    keys = [key for key in trial.system_attrs if unwanted(key)]
    if keys:
        table = TrialSystemAttributeModel
        storage: Any = study._storage
        with storage._backend.engine.begin() as connection:
            connection.execute(delete(table).where(table.trial_id == trial._trial_id, table.key.in_(keys)))
        storage.touch(trial._trial_id)


def rungs_of(trial: FrozenTrial) -> int:
    """How many rungs of successive halving a trial has passed."""
    return sum(key.startswith(RUNG) for key in trial.system_attrs)
