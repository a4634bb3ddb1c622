"""A search's folder: where everything lies, how it gets its name, and who may drive it."""

import datetime
import json
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from datg.errors import ConfigError
from datg.files import write_json
from datg.final_training import EMBEDDING

SETTINGS = "search.yaml"


@dataclass(frozen=True)
class SearchFolder:
    """Paths of a search.

    Attributes:
        path: absolute.
    """

    path: Path

    @property
    def name(self) -> str:
        """The search's name: that of its folder."""
        return self.path.name

    @property
    def settings(self) -> Path:
        """What was asked for."""
        return self.path / SETTINGS

    @property
    def study(self) -> Path:
        """The sqlite study."""
        return self.path / "study.db"

    @property
    def best(self) -> Path:
        """The exported best configuration."""
        return self.path / "best.yaml"

    def comparison(self, form: str) -> Path:
        """The table of a comparison, as ``md`` or ``csv``."""
        return self.path / f"comparison.{form}"

    @property
    def tune(self) -> Path:
        """Ray Tune's own state: disposable."""
        return self.path / "tune"

    @property
    def mlflow(self) -> Path:
        """Which MLflow runs show this search."""
        return self.path / "mlflow.json"

    @property
    def embedding(self) -> Path:
        """The folder of the network that base classes are clustered by, if the strategy wants one."""
        return self.path / EMBEDDING

    def trial(self, number: int) -> Path:
        """The folder of a trial."""
        return self.path / "trials" / str(number)


def new_folder(output: Path, prefix: str) -> SearchFolder:
    """Makes ``<output>/<prefix>-<date>-<n>`` with the first free n.

    Raises:
        ConfigError: ``output`` cannot be written.
    """
    day = datetime.date.today().strftime("%Y%m%d")
    try:
        output.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = output.absolute() / f"{prefix}-{day}-{number}"
            try:
                path.mkdir()
                return SearchFolder(path)
            except FileExistsError:
                number += 1
    except OSError as error:
        raise ConfigError(
            f"`--output` {output} cannot be written ({error.strerror}); name a writable folder."
        ) from error


def find_folder(output: Path, search: str) -> SearchFolder:
    """The folder of an existing search, by name below ``output`` or by path.

    Raises:
        ConfigError: there is none; the message lists the searches that are there.
    """
    for path in (output / search, Path(search)):
        if (path / SETTINGS).is_file():
            return SearchFolder(path.absolute())
    known = sorted((path.parent.name for path in output.glob(f"*/{SETTINGS}")), key=_natural)
    listed = f"searches there: {', '.join(known)}" if known else "there is none yet"
    raise ConfigError(f"`{search}` is no search in {output}; {listed}.")


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


class DriverLock:
    """At most one driver a search: the operating system frees the lock of a dead one."""

    def __init__(self, folder: SearchFolder) -> None:
        self._lock = FileLock(folder.path / "driver.lock", timeout=0)
        self._owner = folder.path / "driver.json"
        self._name = folder.name

    def __enter__(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            owner = json.loads(self._owner.read_text()) if self._owner.exists() else {"host": "?", "pid": "?"}
            raise ConfigError(
                f"search {self._name} is already driven by process {owner['pid']} on {owner['host']}; stop that one first."
            ) from None
        write_json(self._owner, {"host": socket.gethostname(), "pid": os.getpid()})

    def __exit__(self, *_: object) -> None:
        self._owner.unlink(missing_ok=True)
        self._lock.release()
