"""How a trial can end, and how each end is told to Optuna."""

import warnings

import optuna
from optuna.trial import FrozenTrial, TrialState

from datg.trial.records import SUCCESSES

OUTCOME_ATTRIBUTE, ERROR_ATTRIBUTE = (
    "outcome",
    "error",
)  # attributes of a trial that has ended or was broken by its machine
INFEASIBLE = ("diverged", "error")  # what the configuration broke


def tell(study: optuna.Study, trial: optuna.Trial, outcome: str, objective: float | None) -> None:
    """Tell ``study`` that ``trial`` has ended.

    Optuna's samplers do not see what is told as FAIL. So what a configuration broke is told as pruned and infeasible: its
    neighbourhood is then avoided. FAIL is for what is given up: what its machine
    broke stays running until it is resumed.

    Args:
        study: in memory or stored.
        trial: running.
        outcome: finished, collapsed, pruned, diverged, error or failed.
        objective: of a success.
    """
    if outcome == "failed":
        study.tell(trial, state=TrialState.FAIL)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # samplers without constraints say so, and that one is set already
        trial.set_constraint("broken", float(outcome in INFEASIBLE))
        if outcome in SUCCESSES:
            study.tell(trial, objective)
        else:
            study.tell(trial, state=TrialState.PRUNED)


def outcome_of(trial: FrozenTrial) -> str:
    """Return the outcome of an ended trial."""
    return str(trial.user_attrs.get(OUTCOME_ATTRIBUTE, trial.state.name.lower()))
