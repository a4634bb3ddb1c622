"""Search spaces: dotted configuration keys with ranges, and how a trial's values are asked for.

Each strategy names what of it is worth searching; a search's YAML replaces ranges or adds some. A range is one of
``{int: [low, high]}``, ``{float: [low, high]}``, ``{log: [low, high]}`` and ``{choice: [...]}``. A bound may be a name that is
known only with data, learner and preset (``max_clusters``, ``shared_layers``, ``lowest_lr``, ``highest_lr``) or the key of an
earlier range (``strategy.mix_low``), so that nothing infeasible is ever suggested.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import optuna
from optuna.trial import BaseTrial, FrozenTrial

from datg.config import flatten
from datg.errors import ConfigError, unknown_name
from datg.generation.clustering import check_number, most_clusters
from datg.strategies import STRATEGIES
from datg.trial.config import PRESETS, TrialConfig

# What must be equal for the tasks, the steps and the scores of trials to be comparable.
UNSEARCHED = (
    "dataset",
    "base_classes",
    "seed",
    "task.",
    "evaluation.",
    "training.iterations",
    "training.eval_every",
    "training.keep",
    "training.preset",
)
KINDS = ("int", "float", "log", "choice")
RATE_FACTOR = 10  # of the learning rate of a preset, on both sides
Bounds = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """Hold what one key may be.

    Attributes:
        key: dotted.
        kind: int, float, log or choice.
        values: ``[low, high]``, or the choices.
    """

    key: str
    kind: str
    values: tuple[Any, ...]

    def resolved(self, bounds: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values with names replaced."""
        if self.kind == "choice":
            return self.values
        return tuple(bounds[value] if isinstance(value, str) else value for value in self.values)

    def distance(self, value: float, edge: float, low: float, high: float) -> float:
        """Return how far a numeric ``value`` is from ``edge``, as a share of the range [low, high], log ranges by factors."""
        if self.kind == "log":
            return abs(math.log(value / edge)) / math.log(high / low)
        return abs(value - edge) / (high - low)

    def beyond(self, low: float, high: float) -> tuple[float, float]:
        """Return a value below and one above the range [low, high], as near as makes a difference."""
        if self.kind == "int":
            return low - 1, high + 1
        if self.kind == "log":
            return low / 2, high * 2
        return low - (high - low) / 10, high + (high - low) / 10


Space = list[Range]


def parse_space(raw: Any) -> Space:
    """Check the ``space`` of a search's YAML, or the ranges of a strategy.

    Raises:
        ConfigError: a range is malformed; the message names the key.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"`space` must map configuration keys to ranges, got {raw!r}.")
    space: Space = []
    for key, entry in raw.items():
        if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in KINDS:
            raise ConfigError(f"`space.{key}` must be one of {{int|float|log|choice: [...]}}, got {entry!r}.")
        kind, values = next(iter(entry.items()))
        if not isinstance(values, list) or not values or (kind != "choice" and len(values) != 2):
            raise ConfigError(
                f"`space.{key}` must have a list of {'choices' if kind == 'choice' else 'two bounds'}, got {values!r}."
            )
        if str(key).startswith(UNSEARCHED):
            raise ConfigError(
                f"`space.{key}` cannot be searched: trials with different values could not be compared; give it with --set."
            )
        space.append(Range(str(key), kind, tuple(values if kind == "choice" else map(_number, values))))
    return space


def _number(bound: Any) -> Any:
    """Turn text into the number it means: YAML reads 1e-4, without a dot, as text."""
    try:
        return float(bound) if isinstance(bound, str) else bound
    except ValueError:
        return bound


def restrict(space: Space, strategy: str) -> Space:
    """Return the part of a space that ``strategy`` has; keys of other strategies are dropped, keys of none refused."""
    strategy_keys = {f"strategy.{field.name}" for field in fields(STRATEGIES[strategy])}
    every = {f"strategy.{field.name}" for kind in STRATEGIES.values() for field in fields(kind)}
    for entry in space:
        if entry.key.startswith("strategy.") and entry.key not in every:
            raise ConfigError(f"`space.{entry.key}`: " + unknown_name("key", entry.key, every))
    return [entry for entry in space if not entry.key.startswith("strategy.") or entry.key in strategy_keys]


def whole_space(given: Any, config: TrialConfig) -> Space:
    """Return the ranges that the strategy of ``config`` names, replaced and completed by the ``given`` ones of a YAML file.

    Raises:
        ConfigError: a range is malformed, or is of a key that no strategy has.
    """
    strategy_space = {entry.key: entry for entry in parse_space(config.strategy.ranges())}
    return list(
        (strategy_space | {entry.key: entry for entry in restrict(parse_space(given), config.strategy_name)}).values()
    )


def bounds_of(config: TrialConfig, base_classes: int) -> dict[str, Any]:
    """Return the named bounds: those of data, learner and preset, and the fixed values of the configuration under their keys.

    Raises:
        ConfigError: the strategy clusters, and there are too few classes for two clusters.
    """
    clustering, ways = config.strategy.clustering(config.task.ways), config.task.ways
    if clustering is not None:
        check_number(2, base_classes, clustering.smallest)
    clusters = most_clusters(base_classes, ways if clustering is None else clustering.smallest)
    fixed_high = getattr(config.strategy, "mix_high", None)  # a highest layer that is set bounds the lowest, too
    shared = config.shared_layers if fixed_high is None else fixed_high
    rate = PRESETS[config.training.preset]["training.lr"]
    rates = {"lowest_lr": rate / RATE_FACTOR, "highest_lr": rate * RATE_FACTOR}
    return {**flatten(config.to_dict()), **rates, "max_clusters": clusters, "shared_layers": shared}


def check_space(space: Space, config: TrialConfig, bounds: Bounds) -> None:
    """Check that every bound is a number in order and that both corners of the space are valid configurations.

    Raises:
        ConfigError: naming the key.
    """
    limits: dict[str, Any] = dict(bounds)
    corners: list[dict[str, Any]] = [{}, {}]  # all lowest, all highest
    for entry in space:
        if entry.kind == "choice":
            for choice in entry.values:
                with_params(config, {entry.key: choice})
            continue
        for value in entry.values:
            number = limits.get(value) if isinstance(value, str) else value
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ConfigError(
                    f"`space.{entry.key}` has the bound {value!r}, which is neither a number nor one of max_clusters, "
                    "shared_layers, lowest_lr, highest_lr, or a key with a number."
                )
        low, high = entry.resolved(limits)
        if low > high or (entry.kind == "log" and low <= 0):
            rule = (
                "log bounds must be above 0"
                if entry.kind == "log" and low <= 0
                else "the lower bound must not exceed the upper"
            )
            raise ConfigError(f"`space.{entry.key}`: {rule}, got [{low}, {high}].")
        corners[0][entry.key], corners[1][entry.key] = low, high
        if not any(isinstance(value, str) for value in entry.values):
            corners.append({**corners[1], entry.key: low})  # this one lowest, those before it highest
        limits[entry.key] = low  # a later bound that refers to this key is tried at its lowest
    for corner in corners:
        with_params(config, corner)


def default_params(space: Space, config: TrialConfig) -> dict[str, Any]:
    """Return the values of the searched keys that ``config`` has: the method's own defaults, unless they were set."""
    params = {entry.key: _get(config.to_dict(), entry.key) for entry in space}
    return {
        key: config.shared_layers if value is None and key == "strategy.mix_high" else value
        for key, value in params.items()
    }


def contains(space: Space, setting: Mapping[str, Any], bounds: Bounds) -> bool:
    """Return whether ``setting`` lies inside the space."""
    values_by_name: dict[str, Any] = {**bounds, **setting}
    for entry in space:
        values, value = entry.resolved(values_by_name), setting[entry.key]
        inside = value in values if entry.kind == "choice" else value is not None and values[0] <= value <= values[1]
        if not inside:
            return False
    return True


def suggest(trial: BaseTrial, space: Space, bounds: Bounds) -> None:
    """Ask ``trial`` for a value of every key, in order, because a bound may be an earlier value."""
    values_by_name: dict[str, Any] = dict(bounds)
    for entry in space:
        values = entry.resolved(values_by_name)
        if entry.kind == "choice":
            values_by_name[entry.key] = trial.suggest_categorical(entry.key, values)
        elif entry.kind == "int":
            values_by_name[entry.key] = trial.suggest_int(entry.key, *values)
        else:
            values_by_name[entry.key] = trial.suggest_float(entry.key, *values, log=entry.kind == "log")


def as_trial(params: Mapping[str, Any], value: float, space: Space, bounds: Bounds) -> FrozenTrial:
    """Return a finished trial with values inside the space, in the distributions from which a search would suggest them."""
    fixed = optuna.trial.FixedTrial(dict(params))
    suggest(fixed, space, bounds)
    return optuna.trial.create_trial(params=fixed.params, distributions=fixed.distributions, value=value)


def with_params(config: TrialConfig, setting: Mapping[str, Any]) -> TrialConfig:
    """Return ``config`` with the dotted keys of ``setting`` replaced.

    Raises:
        ConfigError: the result is not valid.
    """
    return TrialConfig.from_dict(nested_with(config, setting))


def nested_with(config: TrialConfig, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested values of ``config`` with the dotted keys of ``setting`` replaced, unchecked."""
    values = config.to_dict()
    for key, value in setting.items():
        *sections, last = key.split(".")
        section_values = values
        for section in sections:
            section_values = section_values.get(section, {})
        section_values[last] = value
    return values


def _get(values: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values:
            raise ConfigError(f"`space.{key}` is not a configuration key.")
        values = values[part]
    return values
