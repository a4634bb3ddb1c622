"""Pruners: end unpromising trials early, while that is still cheap.

Steps are validations, 1, 2, ... R. The first decision stands at ceil(R / 4), and after :data:`LAST_PRUNING` of a trial the
pruner is not asked any more: successive halving has no upper limit of its own, and a trial that has paid for most of its
validations is worth more finished than pruned.
"""

import math

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

LAST_PRUNING = 0.6  # of a trial's iterations


def first_rung(steps: int) -> int:
    """Return the validation, of ``steps``, before which nothing is pruned: a quarter, rounded up."""
    return math.ceil(steps / 4)


def halving(steps: int, known: int = 0) -> BasePruner:
    """Return asynchronous successive halving (Li et al. 2020): the better half goes on at each rung."""
    return SuccessiveHalvingPruner(min_resource=first_rung(steps), reduction_factor=2)


def hyperband(steps: int, known: int = 0) -> BasePruner:
    """Return Hyperband (Li et al. 2018): successive halving with several first rungs."""
    return HyperbandPruner(min_resource=1, max_resource=steps, reduction_factor=3)


def median(steps: int, known: int = 0) -> BasePruner:
    """Return the rule that ends a trial below the median of those before it; ``known`` trials of others do not count."""
    return MedianPruner(n_startup_trials=4 + known, n_warmup_steps=first_rung(steps))


def none(steps: int, known: int = 0) -> BasePruner:
    """Return the rule that ends nothing."""
    return NopPruner()
