"""Samplers: suggest the values of a trial from the trials before it.

A sampler is made anew for each trial, from a seed of its own: what it suggests depends on the study alone, and not on how
often the search was interrupted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from datg.runtime.random_streams import derive_seed
from datg.search.study import SAMPLERS


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Hold what a sampler is made for.

    Attributes:
        seed: of this trial alone.
        search_seed: of all trials of a search.
        keys: what is searched, in order.
    """

    seed: int
    search_seed: int
    number: int
    trials: int
    keys: Sequence[str]

    @property
    def startup(self) -> int:
        """Return the number of random trials before a model is asked: a search of a dozen must not be random from end to end."""
        return max(2, min(10, self.trials // 2))


class SobolSampler(BaseSampler):
    """Take trial n's values from the n-th point of a scrambled Sobol sequence (Sobol 1967; Owen 1998).

    Optuna's own counts in the study how often it was asked, which an interrupted search would have to make up for, and draws at
    random what has a bound that another value sets. Here the n-th point belongs to trial n, and each coordinate is mapped to the
    range that holds for that trial.
    """

    def __init__(self, draw: Draw) -> None:
        from scipy.stats import qmc  # takes half a second

        self._keys = list(draw.keys)
        sequence = qmc.Sobol(max(1, len(self._keys)), scramble=True, rng=draw.search_seed)
        if draw.number > 0:  # Sobol cannot go forward by nothing
            sequence.fast_forward(draw.number)
        self._point = sequence.random(1)[0]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: every key is drawn by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing: every key is drawn by itself."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of ``param_name`` at this trial's point."""
        return quantile(param_distribution, float(self._point[self._keys.index(param_name)]))


def quantile(distribution: BaseDistribution, fraction: float) -> Any:
    """Return the value below which ``fraction`` in [0, 1) of a uniform (or log-uniform) distribution lies."""
    match distribution:
        case CategoricalDistribution():
            return distribution.choices[int(fraction * len(distribution.choices))]
        case IntDistribution(low=low, high=high):
            return low + int(fraction * (high - low + 1))
        case FloatDistribution(low=low, high=high, log=True):
            return min(high, low * math.exp(fraction * math.log(high / low)))
        case FloatDistribution(low=low, high=high):
            return low + fraction * (high - low)
    raise AssertionError(f"no search space has {distribution}")


def tpe(draw: Draw) -> BaseSampler:
    """Return a tree-structured Parzen estimator (Bergstra et al. 2011)."""
    return optuna.samplers.TPESampler(seed=draw.seed, n_startup_trials=draw.startup)


def gp(draw: Draw) -> BaseSampler:
    """Return Bayesian optimisation by a Gaussian process."""
    return optuna.samplers.GPSampler(seed=draw.seed, n_startup_trials=draw.startup)


def random(draw: Draw) -> BaseSampler:
    """Return independent draws."""
    return optuna.samplers.RandomSampler(seed=draw.seed)


def sampler_for(name: str, *, seed: int, number: int, trials: int, keys: Sequence[str] = ()) -> BaseSampler:
    """Return the sampler that suggests trial ``number`` of ``trials``.

    Args:
        name: in :data:`~datg.search.study.SAMPLERS`.
        seed: of the search.
        number: of the trial.
        trials: in all.
        keys: what is searched, in order.
    """
    trial_seed, common = (derive_seed(seed, "sampler", *path) % 2**32 for path in ((number,), ()))
    return SAMPLERS[name](Draw(seed=trial_seed, search_seed=common, number=number, trials=trials, keys=keys))
