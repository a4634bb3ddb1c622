"""A local MLflow database is whole or absent, and of this MLflow's version.

MLflow makes its tables in hundreds of steps, changes those of an older version in place, and cannot go on from half of either. So
both are done beside the database, which then takes its place; what was there before is kept under another name.
"""

import contextlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from datg.errors import ConfigError
from datg.storage.locks import OptionalLock

SQLITE = "sqlite:///"
_JOURNALS = ("-journal", "-wal", "-shm")


def database_file(uri: str) -> Path | None:
    """Return the file of a store that is a local database; None for a server, another database, and one given with options."""
    name = uri.removeprefix(SQLITE)
    return None if name in (uri, "", ":memory:") or "?" in name else Path(name)


@contextlib.contextmanager
def whole_database(uri: str, warn: Callable[[str], None] = lambda message: None) -> Iterator[None]:
    """Lock a local database against others who come through here; make it if it is missing, and upgrade an older version.

    Several processes that make the tables of one empty file break it as well as one that is killed at it.

    Args:
        uri: of the tracking store; nothing is to do for one that is not a local database.
        warn: told before the tables of an older version are changed.

    Raises:
        ConfigError: the database is of a newer MLflow; or it is of an older one, and a process has it open.
    """
    file = database_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file = file.resolve()  # what a link names is what is replaced
    with OptionalLock(Path(f"{file}.lock")):
        if _is_missing(file):
            _make(file)
        else:
            _bring_up_to_date(file, warn)
        yield


def _is_missing(file: Path) -> bool:
    return not file.exists() or file.stat().st_size == 0


def _make(file: Path) -> None:
    new = _new_file(file)
    _beside(file, "-journal").unlink(missing_ok=True)
    _make_tables(new)
    if _is_missing(file):  # an `mlflow ui` may have made one meanwhile
        new.replace(file)
    else:
        new.unlink()


def _bring_up_to_date(file: Path, warn: Callable[[str], None]) -> None:
    found = _revision(file)
    if found is None:
        return  # no database of MLflow, which MLflow will say
    from alembic.script import ScriptDirectory
    from mlflow import __version__, store

    revisions = ScriptDirectory(str(Path(store.__file__).parent / "db_migrations"))
    if found in revisions.get_heads():
        return
    if all(found != revision.revision for revision in revisions.walk_revisions()):
        raise ConfigError(
            f"{file} is of a newer MLflow than the {__version__} installed here; upgrade MLflow, or keep results in "
            f"another database: --tracking-uri {SQLITE}{file.with_name('mlflow-datg.db')}"
        )
    users = _processes_with(file)
    if users:
        raise ConfigError(
            f"{file} is of an older MLflow and open in {', '.join(users)}; close it there to have it upgraded."
        )
    _migrate(file, __version__, warn)


def _migrate(file: Path, version: str, warn: Callable[[str], None]) -> None:
    kept = file.with_name(f"{file.name}.before-mlflow-{version}")
    warn(
        f"{file} is of an older MLflow; a copy is brought up to date and takes its place, the old one becomes {kept.name}."
    )
    new = _new_file(file)
    try:
        with contextlib.closing(sqlite3.connect(file)) as old, contextlib.closing(sqlite3.connect(new)) as copy:
            old.backup(copy)
        new.chmod(file.stat().st_mode)
        _make_tables(new)
        kept.unlink(missing_ok=True)  # of an attempt that was killed before its end
        try:
            os.link(file, kept)
        except OSError:  # a file system without hard links
            shutil.copy2(file, kept)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def _new_file(file: Path) -> Path:
    """Return where the next database is made: one name for all attempts, so that what a killed one has left is removed."""
    new = _beside(file, ".new")
    for left in (new, *(_beside(new, ending) for ending in _JOURNALS)):  # a journal would undo the rest
        left.unlink(missing_ok=True)
    return new


def _make_tables(new: Path) -> None:
    from mlflow.db import commands

    commands(["upgrade", f"{SQLITE}{new}"], standalone_mode=False)


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(f"{file.name}{ending}")


def _revision(file: Path) -> str | None:
    """Return the version of the tables, by MLflow's own table of it; None where there is none."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    return None


def _processes_with(file: Path) -> list[str]:
    """Return which other processes of this machine have the file open, as far as this one may see."""
    wanted, users = file.resolve(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            opened = any(link.resolve() == wanted for link in (process / "fd").iterdir())
            if opened and int(process.name) != os.getpid():
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                users.append(f"process {process.name} ({shlex.join(filter(None, words))[:80]})")
    return users
