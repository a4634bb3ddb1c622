"""A search's trials as an Optuna study in memory, for Optuna's importances and figures.

It is built from the trials' folders, so neither a lock on the stored study nor damage to it matters.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from datg.search.settings import SearchSettings
from datg.search.space import Range
from datg.trial.records import DONE, PRUNED, TrialRecord

STATES = {DONE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}  # the others have nothing to say of their settings


def as_study(settings: SearchSettings, records: Iterable[TrialRecord]) -> optuna.Study:
    """Return a study of the trials that finished or were pruned; each setting has one distribution for all trials.

    A range whose bounds depend on other values (``mix_high`` on ``mix_low``) is taken at its widest.
    """
    shown = [record for record in whole(settings, records) if record.state in STATES]
    distributions = widest(settings, [record.searched for record in shown])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return study_of([_frozen(record, distributions) for record in shown])


def study_of(trials: Iterable[FrozenTrial]) -> optuna.Study:
    """Return a study in memory that holds ``trials``, and maximises."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
    study.add_trials(trials)
    return study


def widest(settings: SearchSettings, seen: list[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Return one distribution for each searched key, which holds every value in ``seen``."""
    lows: dict[str, Any] = dict(settings.bounds)
    highs: dict[str, Any] = dict(settings.bounds)
    found: dict[str, BaseDistribution] = {}
    for entry in settings.ranges:
        values = [params[entry.key] for params in seen]
        if entry.kind == "choice":
            found[entry.key] = CategoricalDistribution(list(dict.fromkeys(map(str, [*entry.values, *values]))))
            continue
        low, high = (bounds.get(value, value) for bounds, value in zip((lows, highs), entry.values, strict=True))
        lows[entry.key], highs[entry.key] = min([low, *values]), max([high, *values])
        found[entry.key] = _distribution(entry, lows[entry.key], highs[entry.key])
    return found


def _distribution(entry: Range, low: float, high: float) -> BaseDistribution:
    if entry.kind == "int":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(float(low), float(high), log=entry.kind == "log")


def whole(settings: SearchSettings, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials with a score and a value of each setting; one whose configuration is damaged has none."""
    ranges = settings.ranges
    return [r for r in records if r.objective is not None and all(_has_value(r, entry) for entry in ranges)]


def _has_value(record: TrialRecord, entry: Range) -> bool:
    """Return whether a trial has a value of a setting; nothing is one where it may be chosen."""
    return record.searched.get(entry.key) is not None or (entry.key in record.searched and None in entry.values)


def _as(value: Any, distribution: BaseDistribution) -> Any:
    """Return a value as the study holds it: choices by their text, because a study takes no list for one."""
    return str(value) if isinstance(distribution, CategoricalDistribution) else value


def _frozen(record: TrialRecord, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    return create_trial(
        state=STATES[record.state],
        value=record.objective if record.state == DONE else None,
        params={key: _as(record.searched[key], distribution) for key, distribution in distributions.items()},
        distributions=distributions,
        intermediate_values={entry.iteration: entry.accuracy for entry in record.reports},
    )
