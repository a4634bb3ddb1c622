"""Trials that a user picks by hand: read from what was typed or a file, and checked against what is searched."""

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
    if settings.grid:
        raise ConfigError("the trials of a comparison stand in a grid; trials can be enqueued into a search alone.")
    return [check_enqueued(params, settings) for text in given for params in _read(text, settings)]


def check_places(enqueued: Sequence[Params], settings: SearchSettings, *, begun: int, search: str = "") -> None:
    """Refuse more trials than a search has left.

    Args:
        enqueued: that are asked for.
        settings: of the search.
        begun: trials that have begun, or are enqueued already.
        search: its name; "" for one that is about to begin.

    Raises:
        ConfigError: with what makes room.
    """
    wanted = begun + len(enqueued)
    if enqueued and wanted > settings.trials:
        left = max(0, settings.trials - begun)
        way = f"datg search --resume {search} --trials {wanted} --enqueue ..." if search else f"--trials {wanted}"
        raise ConfigError(
            f"`--enqueue` asks for {len(enqueued)} trials, but {left} of the {settings.trials} have not begun; make room: {way}"
        )


def _read(text: str | Mapping[str, Any], settings: SearchSettings) -> list[Params]:
    if not isinstance(text, str):
        return [flatten(text)]
    path = Path(text)
    if not path.is_file():
        if "=" not in text:
            raise ConfigError(f"`--enqueue` must be KEY=VALUE,KEY=VALUE or a YAML file that exists, got {text}.")
        return [parse_settings(text.split(","))]
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), source=text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{text} cannot be read as text: {error}.") from error
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) and entry for entry in entries):
        raise ConfigError(f"{text} must hold a mapping of keys to values, or a list of such mappings.")
    return [_of_export(entry["config"], settings) if "config" in entry else flatten(entry) for entry in entries]


def _of_export(config: Any, settings: SearchSettings) -> Params:
    """Return what is searched of an exported configuration."""
    values = flatten(config if isinstance(config, dict) else {})
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
    with_params(settings.config, checked)
    return checked


def _in_range(entry: Range, value: Any, bounds: Mapping[str, Any]) -> Any:
    """Return a value in the type of its range.

    Raises:
        ConfigError: it lies outside.
    """
    values = entry.resolved(bounds)
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
