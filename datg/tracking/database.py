"""A local MLflow database is whole or absent: MLflow makes its tables in hundreds of steps and cannot go on from half of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

SQLITE = "sqlite:///"


def database_file(uri: str) -> Path | None:
    """Return the file of a store that is a local database; None for a server, another database, and one given with options."""
    name = uri.removeprefix(SQLITE)
    return None if name in (uri, "", ":memory:") or "?" in name else Path(name)


@contextlib.contextmanager
def whole_database(uri: str) -> Iterator[None]:
    """Lock a local database against others who come through here, and make it if it is missing: beside its place, then renamed.

    Several processes that make the tables of one empty file break it as well as one that is killed at it.

    Args:
        uri: of the tracking store; nothing is to do for one that is not a local database.
    """
    file = database_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        if _is_missing(file):
            _make(file)
        yield


def _is_missing(file: Path) -> bool:
    return not file.exists() or file.stat().st_size == 0


def _make(file: Path) -> None:
    from mlflow.db import commands

    # One name for all attempts: what a killed one has left is removed. So are rollback journals, which would undo the rest.
    new = file.with_name(f"{file.name}.new")
    for left in (new, _journal(new), _journal(file)):
        left.unlink(missing_ok=True)
    commands(["upgrade", f"{SQLITE}{new}"], standalone_mode=False)
    if _is_missing(file):  # an `mlflow ui` may have made one meanwhile
        new.replace(file)
    else:
        new.unlink()


def _journal(file: Path) -> Path:
    return file.with_name(f"{file.name}-journal")
