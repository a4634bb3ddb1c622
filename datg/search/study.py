"""The Optuna study of a search: the one record of what was asked, reported, pruned, finished and failed."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from sqlalchemy.exc import SQLAlchemyError

from datg.errors import ConfigError, StateError, unknown_name
from datg.seeding import derive_seed

SQLITE_TIMEOUT = 60  # seconds to wait for another process's lock


def _tpe(seed: int, trials: int) -> BaseSampler:
    # A search of a dozen trials would otherwise be random from end to end.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, min(10, trials // 2)))


def _qmc(seed: int, trials: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": lambda seed, trials: optuna.samplers.GPSampler(seed=seed, n_startup_trials=max(2, min(10, trials // 2))),
    "cmaes": lambda seed, trials: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "random": lambda seed, trials: optuna.samplers.RandomSampler(seed=seed),
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


def open_study(
    url: str,
    name: str,
    *,
    create: bool = False,
    sampler: str = "random",
    pruner: str = "none",
    seed: int = 0,
    trials: int = 1,
    steps: int = 1,
) -> optuna.Study:
    """Opens the study ``name``, or with ``create`` makes it.

    A resumed sampler must not draw the same numbers again, so its seed depends on how many trials there are.

    Raises:
        StateError: the study is missing or damaged, or its storage cannot be reached.
    """
    optuna.logging.set_verbosity(logging.ERROR)
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not create and not file.exists():
        raise StateError(f"the study {file} is missing; restore it from a copy: without it the trials are not known.")
    try:
        arguments = {"timeout": SQLITE_TIMEOUT} if url.startswith("sqlite") else {}
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": arguments})
        if create:
            study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        else:
            study = optuna.load_study(storage=storage, study_name=name)
        asked = len(study.get_trials(deepcopy=False))
    except ImportError as error:
        raise ConfigError(
            "`--study-storage` needs a database driver that is not installed; for PostgreSQL: pip install 'datg[postgres]' and "
            "a URL that begins with postgresql+psycopg://."
        ) from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, KeyError) as error:
        where = url.rpartition("@")[2].removeprefix("sqlite:///")
        raise StateError(f"the study in {where} cannot be opened: {str(error).splitlines()[0]}") from error
    study.sampler = SAMPLERS[sampler](derive_seed(seed, "sampler", asked) % 2**32, trials)
    study.pruner = PRUNERS[pruner](steps)
    return study
