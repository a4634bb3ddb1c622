"""Environment variables that a search ignores, though its libraries or its user may expect otherwise."""

import os
from collections.abc import Mapping

from datg.search.ray.resources import Resources

NOT_USED = {
    "MLFLOW_RUN_ID": "a search has MLflow runs of its own",
    "MLFLOW_EXPERIMENT_ID": "MLflow runs of a search stand in the experiment datg/DATASET",
    "MLFLOW_EXPERIMENT_NAME": "MLflow runs of a search stand in the experiment datg/DATASET",
}


TUNES_OWN = ("TUNE_", "RAY_AIR_")  # how Tune runs is decided here; some of its old settings even end it
GIVEN = dict(os.environ)  # before anything is set or removed


def remove_tunes_own() -> None:
    """Remove what would change how Tune runs, for this process and those that it starts."""
    for name in [name for name in os.environ if name.startswith(TUNES_OWN)]:
        del os.environ[name]


def ignored_environment(resources: Resources, environment: Mapping[str, str] = GIVEN) -> list[str]:
    """Return a sentence for each setting of the environment that a search does not follow."""
    why = dict(NOT_USED)
    why |= {name: "how Tune runs is decided by the search" for name in environment if name.startswith(TUNES_OWN)}
    if resources.address is None:
        why["RAY_ADDRESS"] = (
            "a search starts a Ray of its own here unless --address says otherwise (--address auto takes that cluster)"
        )
    if environment.get("OMP_NUM_THREADS") != str(resources.cpus_per_trial):
        why["OMP_NUM_THREADS"] = f"a trial has as many threads as --cpus-per-trial says, {resources.cpus_per_trial}"
    return [
        f"{name} is {environment[name]} and is not used: {rule}" for name, rule in why.items() if environment.get(name)
    ]
