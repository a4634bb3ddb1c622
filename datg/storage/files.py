"""Files that are whole or absent (written beside, then renamed), and YAML without surprises."""

import contextlib
import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from datg.errors import ConfigError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = (*NO_ROOM, errno.EROFS)


def unwritable_output(output: Path, error: OSError) -> ConfigError:
    """Return what to raise where the folder of ``--output`` cannot be written."""
    return ConfigError(f"`--output` {output} cannot be written ({error.strerror}); name a writable folder.")


def is_disk_full(error: BaseException) -> bool:
    """Return whether ``error`` says that a disk is full or has become read-only."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    # safetensors tells of the system's error in words alone
    return type(error).__name__ == "SafetensorError" and any(
        f"os error {number})" in str(error).lower() for number in DISK_FULL
    )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` on success, remove it on failure.

    The file gets the rights that the user's files get, whatever writes it: safetensors would keep it from the user's group.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_yaml(path: Path, value: Any, *, header: str = "") -> None:
    """Replace ``path`` by ``value`` as YAML, keys in the given order, below ``header`` (comment lines)."""
    write_text(path, header + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the one in C is ten times as fast
    """SafeLoader that refuses duplicate keys (plain YAML keeps the last one in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key `{key}` stands twice", key_node.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, *, source: str) -> Any:
    """Parse YAML with the safe loader.

    Raises:
        ConfigError: on syntax errors, duplicate keys and tags; the message names ``source`` and the line.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{source}, line {line}: {error.problem}; correct the YAML.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}.") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: the file is missing, not text, not YAML or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}.") from error
    value = parse_yaml(text, source=str(path))
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values, got {type(value).__name__}.")
    return value
