"""A search's folder: where everything lies, how it gets its name, whose it is, and who may drive it."""

import contextlib
import datetime
import json
import os
import re
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from datg.errors import ConfigError, StateError
from datg.storage.files import unwritable_output, write_json
from datg.storage.lease import last_heartbeat
from datg.storage.locks import OptionalLock
from datg.trial.folder import NETWORK

SEARCH_YAML = "search.yaml"
STUDY = "study.db"
NAME, OF_COMPARISON = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "--"
REPORT, BEST_YAML = "report.html", "best.yaml"
SILENT_SECONDS = 60.0  # without a sign of life a driver on another machine counts as dead
COMPARISON_FORMS = ("md", "tex", "csv", "seeds.csv", "searches.csv")


@dataclass(frozen=True)
class SearchFolder:
    """Hold the paths of a search.

    Attributes:
        path: absolute.
    """

    path: Path

    @property
    def name(self) -> str:
        """Return the search's name: that of its folder."""
        return self.path.name

    @property
    def settings(self) -> Path:
        """Return what was asked for."""
        return self.path / SEARCH_YAML

    @property
    def study(self) -> Path:
        """Return the sqlite study."""
        return self.path / STUDY

    @property
    def best(self) -> Path:
        """Return the exported best configuration."""
        return self.path / BEST_YAML

    @property
    def report(self) -> Path:
        """Return the page that tells what was found."""
        return self.path / REPORT

    def beside(self, name: str) -> "SearchFolder":
        """Return the folder of another search in the same place."""
        return SearchFolder(self.path.with_name(name))

    def comparison(self, form: str) -> Path:
        """Return the table of a comparison in one of :data:`COMPARISON_FORMS`."""
        return self.path / f"comparison.{form}"

    @property
    def tune(self) -> Path:
        """Return the folder of Ray Tune's own state, which is disposable."""
        return self.path / "tune"

    @property
    def mlflow(self) -> Path:
        """Return which MLflow runs show this search, and what they have."""
        return self.path / "mlflow.json"

    @property
    def driver(self) -> Path:
        """Return who drives the search; its time is that of the driver's last sign of life."""
        return self.path / "driver.json"

    @property
    def stop(self) -> Path:
        """Return the file that has trials save and end."""
        return self.path / "stop"

    @property
    def inbox(self) -> Path:
        """Return the folder of users' requests."""
        return self.path / "inbox"

    @property
    def warm_start(self) -> Path:
        """Return what the sampler was given to begin with, if it was."""
        return self.path / "warm_start.json"

    @property
    def network(self) -> Path:
        """Return the folder of the network that is trained before any trial, if the strategy needs one."""
        return self.path / NETWORK

    @property
    def references(self) -> Path:
        """Return the folder of the trainings that the search is measured against."""
        return self.path / "references"

    def trial_numbers(self) -> list[int]:
        """Return the numbers of the trials that have a folder, in order."""
        return sorted(int(path.name) for path in (self.path / "trials").glob("*") if path.name.isdigit())

    def trial(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.path / "trials" / str(number)

    def reference(self, name: str) -> Path:
        """Return the folder of one of them."""
        return self.references / name


def new_folder(output: Path, prefix: str) -> SearchFolder:
    """Make ``<output>/<prefix>-<date>-<n>`` with the first free n, writable by its owner alone.

    Raises:
        ConfigError: ``output`` cannot be written.
    """
    day = datetime.date.today().strftime("%Y%m%d")
    try:
        output.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            try:
                if any(
                    output.glob(f"{prefix}-{day}-{number}-*")
                ):  # parts of a comparison or a reproduction that is no more
                    raise FileExistsError
                return make_folder(output.absolute() / f"{prefix}-{day}-{number}")
            except FileExistsError:
                number += 1
    except OSError as error:
        raise unwritable_output(output, error) from error


def named_folder(output: Path, name: str) -> SearchFolder:
    """Make ``<output>/<name>``, or take it as a start that died there left it: without a search.

    Raises:
        ConfigError: ``output`` cannot be written, or something else is there.
    """
    path = output.absolute() / check_name(name)
    try:
        output.mkdir(parents=True, exist_ok=True)
        return make_or_take_folder(path)
    except OSError as error:
        raise unwritable_output(output, error) from error


def check_name(name: str) -> str:
    """Return the name of a search, if it can be that of a folder.

    Raises:
        ConfigError: with the rule.
    """
    if not re.fullmatch(NAME, name) or OF_COMPARISON in name:
        raise ConfigError(
            f"`--name` must be 1 to 100 letters, digits, `_`, `-` and `.`, beginning with a letter or digit and without "
            f"`{OF_COMPARISON}`, which stands in the names of a comparison's searches, got {name!r}."
        )
    return name


def is_begun(output: Path, name: str) -> bool:
    """Return whether a search of that name stands in ``output``."""
    folder = SearchFolder(output / check_name(name))
    return folder.settings.exists() or folder.study.exists()


def make_or_take_folder(path: Path, *left: str) -> SearchFolder:
    """Make a search's folder, or take one that holds at most what a start that died there leaves, and files named ``left``.

    Raises:
        ConfigError: something else is there.
        OSError: it cannot be made.
    """
    begun = ("driver.", f".{SEARCH_YAML}.", ".driver.", "warm_start.", ".warm_start.", *left)
    if path.is_dir() and all(inside.name.startswith(begun) for inside in path.iterdir()):
        return SearchFolder(path)
    try:
        return make_folder(path)
    except FileExistsError:
        raise ConfigError(f"`--name`: {path} is there and holds something else; choose another name.") from None


def make_folder(path: Path) -> SearchFolder:
    """Make a search's folder, writable by its owner alone.

    Raises:
        OSError: it is there, or cannot be made.
    """
    path.mkdir()
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    return SearchFolder(path)


def find_folder(output: Path, search: str) -> SearchFolder:
    """Return the folder of an existing search, by name below ``output`` or by path.

    Raises:
        ConfigError: there is none; the message lists the searches that are there.
        StateError: it belongs to somebody else, or others may write into it.
    """
    for path in (output / search, Path(search)):
        if (path / SEARCH_YAML).exists() or (path / STUDY).exists():
            folder = SearchFolder(path.absolute())
            check_owner(folder.path)
            return folder
    searches = sorted(folders_in(output), key=_natural)
    listed = f"searches there: {', '.join(searches)}" if searches else "there is none yet"
    raise ConfigError(f"`{search}` is no search in {output}; {listed}.")


def folders_in(output: Path) -> list[str]:
    """Return the names of the searches in ``output``."""
    return [path.parent.name for path in output.glob(f"*/{SEARCH_YAML}")]


def check_owner(path: Path) -> None:
    """Refuse a folder that is not the user's own: what lies in it decides what runs.

    Raises:
        StateError: it is somebody else's, or others may write into it.
    """
    status = path.stat()
    if status.st_uid != os.getuid():
        raise StateError(
            f"{path} belongs to user {status.st_uid}, not to you ({os.getuid()}); copy it and use the copy, which is yours."
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateError(f"others may write into {path}; look at what is in it, then: chmod go-w {path}")


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


class DriverLock:
    """Allow at most one driver per search: the operating system frees the lock of a dead one.

    Where the file system has no locks, a driver counts as alive by its signs of life.
    """

    def __init__(self, folder: SearchFolder) -> None:
        self._lock = OptionalLock(folder.path / "driver.lock", timeout=0)
        self._folder = folder

    def __enter__(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise self._driven() from None
        if not self._lock.held and active_driver(self._folder):
            raise self._driven()
        write_json(self._folder.driver, {"host": socket.gethostname(), "pid": os.getpid()})

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._folder.driver.unlink(missing_ok=True)
        self._lock.release()

    def _driven(self) -> ConfigError:
        owner = read_driver(self._folder)
        return ConfigError(
            f"search {self._folder.name} is already driven by process {owner.get('pid', '?')} on {owner.get('host', '?')}; "
            "stop that one first."
        )


def refuse_second_driver(output: Path, search: str) -> None:
    """Turn away at once who would drive a search that is driven, before anything that takes time is imported.

    Raises:
        ConfigError: naming the other driver.
    """
    with DriverLock(find_folder(output, search)):
        pass


def read_driver(folder: SearchFolder) -> dict[str, Any]:
    """Return host and process that drive a search, or did so when they died; empty if none does."""
    try:
        return dict(json.loads(folder.driver.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def active_driver(folder: SearchFolder) -> str:
    """Return who drives the search, if somebody does: a process of this machine, or one elsewhere with a recent sign of life."""
    driver = read_driver(folder)
    if not driver:
        return ""
    here = driver.get("host") == socket.gethostname()
    if here and not _alive(driver.get("pid")):
        return ""
    if not here and time.time() - (last_heartbeat(folder.driver) or 0.0) > SILENT_SECONDS:
        return ""
    return f"process {driver.get('pid')} on {driver.get('host')}"


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, TypeError, ValueError):
        return False
    return True
