"""Requests of users to a search: files in its folder, which its driver reads and answers; the driver stays the only writer.

A request is one YAML file in ``inbox/``. Once it has been dealt with, it lies in ``inbox/done/`` with its answer.
"""

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datg.errors import ConfigError
from datg.search.state.folder import SearchFolder
from datg.storage.files import read_yaml, write_yaml

ENQUEUE, STOP_TRIAL = "enqueue", "stop_trial"
ANSWER = "answer"


@dataclass(frozen=True)
class UserRequest:
    """Hold one request.

    Attributes:
        name: of its file.
        kind: ``enqueue`` or ``stop_trial``.
        asked: when, in seconds since 1970.
        values: dotted keys of a trial, or ``trial`` with its number.
    """

    name: str
    kind: str
    asked: float
    values: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """Return it in a line."""
        return f"{self.kind} {', '.join(f'{key}={value}' for key, value in self.values.items())}".strip()


class Inbox:
    """Hold the requests to one search."""

    def __init__(self, folder: SearchFolder) -> None:
        self._pending, self._done = folder.inbox, folder.inbox / "done"

    def put(self, kind: str, values: dict[str, Any]) -> str:
        """Write a request, and return its name."""
        return self._put(f"{time.time_ns()}-{uuid.uuid4().hex[:8]}", kind, values)

    def put_once(self, kind: str, every: Sequence[dict[str, Any]]) -> None:
        """Write the requests of a command that may be called again: those that were written before are not written anew."""
        for index, values in enumerate(every):
            name = _name_of(index, values)
            if not self._was_put(name):
                self._put(name, kind, values, later=index)

    def not_put_yet(self, every: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those that :meth:`put_once` would write."""
        return [values for index, values in enumerate(every) if not self._was_put(_name_of(index, values))]

    def _was_put(self, name: str) -> bool:
        return any((place / f"{name}.yaml").exists() for place in (self._pending, self._done))

    def _put(self, name: str, kind: str, values: dict[str, Any], later: int = 0) -> str:
        content = {
            "kind": kind,
            "asked": time.time() + later * 1e-3,
            "values": values,
        }  # in the order in which they were given
        write_yaml(self._pending / f"{name}.yaml", content)
        return name

    def pending(self, on_damage: Callable[[str, str], None] | None = None) -> list[UserRequest]:
        """Return the requests that wait, in the order in which they were made.

        Args:
            on_damage: told the name of a file that is no request, and what to answer.
        """
        found = []
        for path in self._pending.glob("*.yaml"):
            if (self._done / path.name).exists():  # the driver died between the answer and this
                continue
            if not path.is_file():
                continue
            try:
                found.append(_checked(path.stem, read_yaml(path)))
            except ConfigError as error:
                if on_damage is not None and path.exists():
                    on_damage(path.stem, f"it is no request ({error})")
        return sorted(found, key=lambda request: (request.asked, request.name))

    def answer(self, name: str, text: str) -> None:
        """Answer a request, which then waits no more."""
        path = self._pending / f"{name}.yaml"
        content: dict[str, Any] = {}
        with contextlib.suppress(ConfigError):
            content = read_yaml(path)
        write_yaml(self._done / path.name, {**content, ANSWER: text, "answered": time.time()})
        path.unlink(missing_ok=True)

    def answer_to(self, name: str) -> str | None:
        """Return the answer to a request; None while it waits."""
        path: Path = self._done / f"{name}.yaml"
        return str(read_yaml(path).get(ANSWER)) if path.exists() else None

    def wait_for(self, name: str, seconds: float) -> str | None:
        """Return the answer once there is one; None after so many seconds without."""
        deadline = time.monotonic() + seconds
        while (answer := self.answer_to(name)) is None and time.monotonic() < deadline:
            time.sleep(0.2)
        return answer


def _checked(name: str, content: dict[str, Any]) -> UserRequest:
    """Return what a file says.

    Raises:
        ConfigError: it is no request.
    """
    kind, asked, values = (content.get(key) for key in ("kind", "asked", "values"))
    if not isinstance(kind, str) or not isinstance(asked, int | float) or not isinstance(values, dict):
        raise ConfigError("kind must be text, asked a number of seconds and values a mapping")
    if kind == STOP_TRIAL and not isinstance(values.get("trial"), int):
        raise ConfigError("trial must be a number")
    return UserRequest(name, kind, float(asked), {str(key): value for key, value in values.items()})


def _name_of(index: int, values: dict[str, Any]) -> str:
    """Return the name that the same values at the same place of a command always have."""
    return f"given-{hashlib.sha256(json.dumps([index, values], sort_keys=True).encode()).hexdigest()[:16]}"
