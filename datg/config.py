"""Configuration by layers: default < preset < YAML < environment < --set < flag, each value knowing where it came from.

Sections are nested mappings; a dotted key such as ``training.lr`` names one value.
"""

import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from datg.errors import ConfigError, unknown_name
from datg.storage.files import parse_yaml

Option = TypeVar("Option")
USER_SOURCES = ("--set", "flag")


class Layers:
    """Hold values under dotted keys, later layers replacing earlier ones."""

    def __init__(self, presets: Mapping[str, Mapping[str, Any]] | None = None, preset_key: str = "") -> None:
        """Start empty.

        Args:
            presets: flat mappings of dotted keys; a layer that sets ``preset_key`` to one of their names puts the whole
                preset under its own values, so that choosing a preset late still takes effect.
            preset_key: the dotted key that names a preset.
        """
        self._presets, self._preset_key = presets or {}, preset_key
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, layer: Mapping[str, Any], source: str) -> None:
        """Put ``layer`` (nested or dotted keys) on top."""
        flat = flatten(layer)
        preset = flat.get(self._preset_key)
        if isinstance(preset, str) and preset in self._presets:
            self._put(self._presets[preset], f"preset {preset}")
        for section in {key.rpartition(".")[0] for key in flat if key.endswith(".name")}:
            # Another learner or strategy has other options: those of the one before do not carry over, except what the
            # user has set explicitly.
            if flat[f"{section}.name"] != self.values.get(f"{section}.name"):
                self._drop(section)
        self._put(flat, source)

    def _drop(self, section: str) -> None:
        inside = [key for key in self.values if key.startswith(f"{section}.") and self.sources[key] not in USER_SOURCES]
        for key in inside:
            del self.values[key], self.sources[key]

    def _put(self, flat: Mapping[str, Any], source: str) -> None:
        for key, value in flat.items():
            self.values[key] = value
            self.sources[key] = source

    def nested(self) -> dict[str, Any]:
        """Return all values as nested mappings."""
        return nest(self.values)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested mappings.

    Raises:
        ConfigError: a key is both a value and a section.
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        section_values = nested
        for section in sections:
            section_values = section_values.setdefault(section, {})
            if not isinstance(section_values, dict):
                raise ConfigError(f"`{key}` cannot be set: `{section}` is a value and not a section.")
        if isinstance(section_values.get(last), dict):
            raise ConfigError(f"`{key}` is a section and not a value; set one of its keys, such as `{key}.name`.")
        section_values[last] = value
    return nested


def parse_settings(settings: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Turn ``key=value`` strings of a command line's ``option``, values in YAML, into dotted keys.

    Raises:
        ConfigError: a string has no ``=`` or no key, or its value is not YAML.
    """
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"`{option}` must look like key=value, got `{setting}`.")
        values[key.strip()] = parse_yaml(text, source=f"{option} {key.strip()}")
    return values


def build_named(table: Mapping[str, type[Option]], section: str, value: Any) -> Option:
    """Build ``{"name": ..., **options}`` from a table of dataclasses, for use as a pydantic validator.

    Raises:
        PydanticCustomError: with one sentence a mistake.
    """
    if type(value) in table.values():
        built: Option = value
        return built
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        refuse([f"`{section}.name` must be one of {', '.join(sorted(table))}."])
    options = dict(value)
    name = options.pop("name")
    if name not in table:
        refuse([f"`{section}.name` is wrong: " + unknown_name(section, name, table)])
    try:
        return TypeAdapter(table[name]).validate_python(options)
    except ValidationError as error:
        refuse(sentences(error, table[name], f"{section}."))


def refuse(messages: list[str]) -> NoReturn:
    """Raise ``messages`` from inside a pydantic validator; :func:`sentences` gives them back."""
    raise PydanticCustomError("sentences", "{text}", {"text": "\n".join(messages)})


def sentences(error: ValidationError, model: type[Any], prefix: str = "") -> list[str]:
    """Return what pydantic found, one sentence a mistake, with dotted keys and the nearest known key."""
    messages = []
    for item in error.errors():
        key = prefix + ".".join(str(part) for part in item["loc"])
        if item["type"] == "sentences":
            messages += item["msg"].split("\n")
        elif item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            messages.append(unknown_name("key", key, known_keys(model, prefix)))
        elif item["type"] == "missing":
            messages.append(f"`{key}` is missing.")
        else:
            rule = item["msg"].replace("Value error, ", "", 1)
            rule = rule.replace("Input should be", "must be", 1).replace("String should", "must", 1)
            messages.append(f"`{key}` {rule}, got {item['input']!r}.")
    return messages


def known_keys(model: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys of a pydantic model or a dataclass."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        annotations = {name: info.annotation for name, info in model.model_fields.items()}
    elif is_dataclass(model):
        annotations = {field.name: None for field in fields(model)}
    else:
        return []
    keys = []
    for name, annotation in annotations.items():
        inner = known_keys(_bare(annotation), f"{prefix}{name}.")
        keys += inner or [prefix + name]
    return keys


def _bare(annotation: Any) -> Any:
    """Return the first real type of an optional one."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation
