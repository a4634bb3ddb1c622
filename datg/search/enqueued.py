"""Trials that a user picks by hand: read from what was typed or a file, and checked against what is searched."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datg.config import flatten, parse_settings
from datg.errors import ConfigError, unknown_name
from datg.search.settings import SearchSettings
from datg.search.space import Range, with_params
from datg.storage.files import parse_yaml

Params = dict[str, Any]


def read_enqueued(given: Iterable[str | Mapping[str, Any]], settings: SearchSettings) -> list[Params]:
    """Return the trials that a user asks for, checked.

    Args:
        given: each ``KEY=VALUE,KEY=VALUE``, or a YAML file with a mapping of keys to values, a list of such mappings, or an
            exported configuration; or a mapping itself.
        settings: of the search.

    Raises:
        ConfigError: naming the key or file; the search is a comparison.
    """
    given = list(given)
    if given and settings.comparison:
        raise ConfigError(
            f"this search is one of {settings.comparison}, whose searches are alike; it takes no trial by hand."
        )
    if given and settings.grid:
        raise ConfigError("the trials of a comparison stand in a grid; trials can be enqueued into a search alone.")
    return [check_enqueued(params, settings) for text in given for params in _read(text, settings)]


def check_places(
    enqueued: Sequence[Params], settings: SearchSettings, *, begun: int, waiting: int = 0, resume: str = ""
) -> None:
    """Refuse more trials than a search has left.

    Args:
        enqueued: that are asked for.
        settings: of the search, whose first trial may be the method's own setting.
        begun: trials that have begun.
        waiting: trials that are enqueued already.
        resume: the command that goes on with it; "" for one that is about to begin.

    Raises:
        ConfigError: with what makes room.
    """
    taken = max(begun, int(settings.own_setting is not None)) + waiting
    wanted = taken + len(enqueued)
    if enqueued and wanted > settings.trials:
        left, own = max(0, settings.trials - taken), "" if begun else ", trial 0 is the method's own setting"
        more = f"--trials {wanted}"
        way = f"{resume} {more} --enqueue ..." if resume else more
        raise ConfigError(
            f"`--enqueue` asks for {len(enqueued)} trials, but {left} of the {settings.trials} are left{own}; make room: {way}"
        )


def _read(text: str | Mapping[str, Any], settings: SearchSettings) -> list[Params]:
    if not isinstance(text, str):
        return [flatten(text)]
    is_file = False
    with contextlib.suppress(OSError):  # a long list of values is no name of a file
        is_file = Path(text).is_file()
    if not is_file:
        if "=" not in text:
            raise ConfigError(f"`--enqueue` must be KEY=VALUE,KEY=VALUE or a YAML file that exists, got {text}.")
        return [parse_settings((part for part in text.split(",") if part.strip()), "--enqueue")]
    try:
        content = parse_yaml(Path(text).read_text(encoding="utf-8"), source=text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{text} cannot be read as text: {error}.") from error
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) and entry for entry in entries):
        raise ConfigError(f"{text} must hold a mapping of keys to values, or a list of such mappings.")
    return [_of_export(entry["config"], settings) if "config" in entry else flatten(entry) for entry in entries]


def _of_export(config: Any, settings: SearchSettings) -> Params:
    """Return what is searched of an exported configuration."""
    values = flatten(config if isinstance(config, dict) else {})
    strategy, here = values.get("strategy.name"), settings.config.strategy_name
    if strategy != here:
        raise ConfigError(
            f"`--enqueue`: the configuration is of strategy {strategy}, but {here} is searched; give one of {here}."
        )
    return {key: values[key] for key in settings.space if values.get(key) is not None}


def check_enqueued(params: Mapping[str, Any], settings: SearchSettings) -> Params:
    """Return the values of a trial in the types of their ranges.

    Raises:
        ConfigError: a key that is not searched, a value outside its range, or one whose bound is not given.
    """
    ranges = {entry.key: entry for entry in settings.ranges}
    checked: Params = {}
    for key in params:
        if key not in ranges:
            raise ConfigError(f"`--enqueue`: {unknown_name('searched key', key, ranges)}")
    for key, entry in ranges.items():
        if key in params:
            missing = [
                bound for bound in entry.values if bound in ranges and bound not in checked and entry.kind != "choice"
            ]
            if missing:
                raise ConfigError(f"`--enqueue`: {key} depends on {missing[0]}; give both.")
            checked[key] = _in_range(entry, params[key], {**settings.bounds, **checked})
    if not checked:
        raise ConfigError(f"`--enqueue` must give a value of a searched key: {', '.join(ranges)}.")
    with_params(settings.config, checked)
    return checked


def _in_range(entry: Range, value: Any, bounds: Mapping[str, Any]) -> Any:
    """Return a value in the type of its range.

    Raises:
        ConfigError: it lies outside.
    """
    values = entry.resolved(bounds)
    if entry.kind != "choice" and isinstance(value, str):  # YAML reads 1e-2, without a dot, as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if entry.kind == "choice":
        if value not in values:
            raise ConfigError(f"`--enqueue`: {entry.key} must be one of {', '.join(map(str, values))}, got {value}.")
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = entry.kind != "int" or (number and float(value).is_integer())
    if not number or not whole or not values[0] <= value <= values[1]:
        kind = "a whole number" if entry.kind == "int" else "a number"
        raise ConfigError(f"`--enqueue`: {entry.key} must be {kind} from {values[0]} to {values[1]}, got {value}.")
    return int(value) if entry.kind == "int" else float(value)
