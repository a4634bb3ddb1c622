"""How much each setting mattered, with an interval that says how far that is luck.

Optuna's importances (PED-ANOVA) of a few dozen trials move much from one search to the next. So the finished trials are drawn
again with replacement, and the importances computed for each draw.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from datg.report.page.study import study_of

LEAST_TRIALS = 10  # of fewer nothing is said
RESAMPLES = 100
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Importance:
    """Hold the share of one setting in what tells good trials from bad ones.

    Attributes:
        key: dotted.
        share: in [0, 1]; the shares of all settings add up to 1.
        low: the lower end of its 95 % interval by bootstrap over trials.
        high: the upper end.
    """

    key: str
    share: float
    low: float
    high: float


def importances(study: optuna.Study, *, resamples: int = RESAMPLES) -> list[Importance]:
    """Return the importance of each setting, the largest first; nothing for fewer than :data:`LEAST_TRIALS` finished trials."""
    finished = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len(finished) < LEAST_TRIALS or len({trial.value for trial in finished}) == 1:
        return []
    shares = _shares(finished)
    rng = np.random.default_rng(0)
    draws = [_shares([finished[i] for i in rng.integers(len(finished), size=len(finished))]) for _ in range(resamples)]
    found = []
    for key, share in shares.items():
        low, high = np.percentile([draw.get(key, 0.0) for draw in draws], PERCENTILES)
        found.append(Importance(key, share, float(low), float(high)))
    return sorted(found, key=lambda entry: -entry.share)


def _shares(trials: list[FrozenTrial]) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna's, on parameters with one value
        return dict(optuna.importance.get_param_importances(study_of(trials)))
