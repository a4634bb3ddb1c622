"""Search spaces: dotted configuration keys with ranges, and how a trial's values are asked for.

Each strategy names what of it is worth searching; a search's YAML replaces ranges or adds some. A range is one of
``{int: [low, high]}``, ``{float: [low, high]}``, ``{log: [low, high]}`` and ``{choice: [...]}``. A bound may be a name that is
known only with the data and the learner (``max_clusters``, ``shared_layers``) or the key of an earlier range
(``strategy.mix_low``), so that nothing infeasible is ever suggested.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import optuna

from datg.config import flatten
from datg.errors import ConfigError, unknown_name
from datg.generation.clustering import check_number, most_clusters
from datg.strategies import STRATEGIES
from datg.strategies.clustered_mixup import ClusteredMixup
from datg.trial_config import TrialConfig

# What must be equal for the tasks, the steps and the scores of trials to be comparable.
UNSEARCHED = (
    "dataset",
    "seed",
    "task.",
    "evaluation.",
    "training.iterations",
    "training.eval_every",
    "training.keep",
    "training.preset",
)
KINDS = ("int", "float", "log", "choice")
Bounds = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """What one key may be.

    Attributes:
        key: dotted.
        kind: int, float, log or choice.
        values: ``[low, high]``, or the choices.
    """

    key: str
    kind: str
    values: tuple[Any, ...]

    def resolved(self, known: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values with names replaced."""
        if self.kind == "choice":
            return self.values
        return tuple(known[value] if isinstance(value, str) else value for value in self.values)


Space = list[Range]


def parse_space(raw: Any) -> Space:
    """Checks the ``space`` of a search's YAML, or the ranges of a strategy.

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
        if key.startswith(UNSEARCHED):
            raise ConfigError(f"`space.{key}` cannot be searched: trials with different values could not be compared.")
        space.append(Range(str(key), kind, tuple(values if kind == "choice" else map(_number, values))))
    return space


def _number(bound: Any) -> Any:
    """YAML reads 1e-4, without a dot, as text."""
    try:
        return float(bound) if isinstance(bound, str) else bound
    except ValueError:
        return bound


def restrict(space: Space, strategy: str) -> Space:
    """The part of a space that ``strategy`` has; keys of other strategies are dropped, keys of none refused."""
    own = {f"strategy.{field.name}" for field in fields(STRATEGIES[strategy])}
    every = {f"strategy.{field.name}" for kind in STRATEGIES.values() for field in fields(kind)}
    for entry in space:
        if entry.key.startswith("strategy.") and entry.key not in every:
            raise ConfigError(f"`space.{entry.key}`: " + unknown_name("key", entry.key, every))
    return [entry for entry in space if not entry.key.startswith("strategy.") or entry.key in own]


def whole_space(given: Any, config: TrialConfig) -> Space:
    """The ranges that the strategy of ``config`` names, replaced and completed by the ``given`` ones of a YAML file.

    Raises:
        ConfigError: a range is malformed, or is of a key that no strategy has.
    """
    own = {entry.key: entry for entry in parse_space(config.strategy.ranges())}
    return list((own | {entry.key: entry for entry in restrict(parse_space(given), config.strategy_name)}).values())


def bounds_of(config: TrialConfig, base_classes: int) -> dict[str, Any]:
    """The named bounds: those of data and learner, and the fixed values of the configuration under their keys.

    Raises:
        ConfigError: the strategy clusters, and there are too few classes for two clusters.
    """
    strategy, ways = config.strategy, config.task.ways
    smallest = strategy.smallest_cluster(ways) if isinstance(strategy, ClusteredMixup) else ways
    if isinstance(strategy, ClusteredMixup):
        check_number(2, base_classes, smallest)
    clusters = most_clusters(base_classes, smallest)
    fixed_high = getattr(config.strategy, "mix_high", None)  # a highest layer that is set bounds the lowest, too
    shared = config.shared_layers if fixed_high is None else fixed_high
    return {**flatten(config.values()), "max_clusters": clusters, "shared_layers": shared}


def check_space(space: Space, config: TrialConfig, bounds: Bounds) -> None:
    """Checks that every bound is a number in order and that both corners of the space are valid configurations.

    Raises:
        ConfigError: naming the key.
    """
    known: dict[str, Any] = dict(bounds)
    corners: list[dict[str, Any]] = [{}, {}]  # all lowest, all highest
    for entry in space:
        if entry.kind == "choice":
            for choice in entry.values:
                configured(config, {entry.key: choice})
            continue
        for value in entry.values:
            number = known.get(value) if isinstance(value, str) else value
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ConfigError(
                    f"`space.{entry.key}` has the bound {value!r}, which is neither a number nor max_clusters, shared_layers or "
                    "a key with a number."
                )
        low, high = entry.resolved(known)
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
        known[entry.key] = low  # a later bound that refers to this key is tried at its lowest
    for corner in corners:
        configured(config, corner)


def paper_setting(space: Space, config: TrialConfig) -> dict[str, Any]:
    """The values of the searched keys that ``config`` has: the method's own defaults, unless they were set."""
    found = {entry.key: _get(config.values(), entry.key) for entry in space}
    return {key: config.shared_layers if value is None else value for key, value in found.items()}


def fits(space: Space, setting: Mapping[str, Any], bounds: Bounds) -> bool:
    """Whether ``setting`` lies inside the space."""
    known: dict[str, Any] = {**bounds, **setting}
    for entry in space:
        values, value = entry.resolved(known), setting[entry.key]
        inside = value in values if entry.kind == "choice" else values[0] <= value <= values[1]
        if not inside:
            return False
    return True


def suggest(
    trial: optuna.Trial, space: Space, bounds: Bounds, *, before: Callable[[str], None] = lambda key: None
) -> dict[str, Any]:
    """Asks ``trial`` for a value of every key; ``before`` is called with each key first."""
    known: dict[str, Any] = dict(bounds)
    for entry in space:
        before(entry.key)
        values = entry.resolved(known)
        if entry.kind == "choice":
            known[entry.key] = trial.suggest_categorical(entry.key, values)
        elif entry.kind == "int":
            known[entry.key] = trial.suggest_int(entry.key, *values)
        else:
            known[entry.key] = trial.suggest_float(entry.key, *values, log=entry.kind == "log")
    return {entry.key: known[entry.key] for entry in space}


def configured(config: TrialConfig, setting: Mapping[str, Any]) -> TrialConfig:
    """``config`` with the dotted keys of ``setting`` replaced.

    Raises:
        ConfigError: the result is not valid.
    """
    values = config.values()
    for key, value in setting.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.get(section, {})
        place[last] = value
    return TrialConfig.of(values)


def _get(values: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values:
            raise ConfigError(f"`space.{key}` is not a configuration key.")
        values = values[part]
    return values
