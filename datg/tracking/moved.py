"""A project's folder that was moved or copied: MLflow remembers absolute places of artifacts, which then are somebody else's.

Only what is certain is changed: the artifacts of an experiment of ours that lie where they would have been written, had the
project always been here.
"""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlparse

# Where MLflow remembers places of artifacts, besides an experiment's own.
PLACES = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
FOLDER = "mlartifacts"  # beside the database, where `mlflow ui` in that folder looks


def artifact_folder(database: Path, experiment: str) -> Path:
    """Return where the artifacts of an experiment in a local database lie."""
    return database.absolute().parent / FOLDER / experiment


def local_path(uri: str) -> Path | None:
    """Return the path that an artifact's place names; None for one that is elsewhere than on a file system."""
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def follow_move(database: Path, experiment: str, recorded: str) -> str:
    """Have MLflow find an experiment's artifacts beside its database again; return a sentence if they had been moved.

    Args:
        database: its file; changed in one transaction.
        experiment: its name.
        recorded: where MLflow believes the artifacts to be, a URI.
    """
    old, new = local_path(recorded), artifact_folder(database, experiment)
    moved = (
        old is not None
        and old != new
        and old.parts[-len(Path(FOLDER, experiment).parts) :] == Path(FOLDER, experiment).parts
    )
    if old is None or not moved or (old.exists() and (not new.exists() or old.samefile(new))):
        return ""
    new.mkdir(parents=True, exist_ok=True)
    before, after = recorded.rstrip("/"), new.as_uri()
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (after, experiment))
        for table, column in PLACES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                (after, len(before) + 1, len(before) + 1, f"{before}/"),
            )
    return f"{database} came from another folder: artifacts of {experiment} are looked for in {new} now, and no longer in {old}."
