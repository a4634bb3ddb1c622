"""Data sets by name: how a known one is imported by default, and how an imported or built-in one is opened."""

import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from datg.data.class_table import ClassTable, open_table
from datg.data.glyphs import write_glyphs
from datg.data.splits import Split
from datg.errors import DataError


@dataclass(frozen=True, kw_only=True)
class ImportDefaults:
    """How raw files of one data set are read unless the user says otherwise."""

    form: str = "folder"
    protocol: str = "random"


IMPORT_DEFAULTS: dict[str, ImportDefaults] = {
    "dermnet": ImportDefaults(protocol="dermnet-s"),
}
BUILT_IN = {"glyphs": write_glyphs}


@dataclass(frozen=True)
class Dataset:
    """A class table with its split."""

    name: str
    table: ClassTable
    split: Split

    def part(self, name: str) -> ClassTable:
        """The classes of part ``name``: base, validation or novel."""
        return self.table.select(self.split.part(name))


def data_root(path: Path | None = None) -> Path:
    """Where data sets live: ``path``, else ``$DATG_DATA``, else ``./data``; always absolute."""
    return Path(path or os.environ.get("DATG_DATA") or "data").absolute()


def open_dataset(name: str, root: Path) -> Dataset:
    """Opens the data set ``name`` below ``root``; a built-in one is made first if need be.

    Raises:
        DataError: it is not there (the message lists the known ones and how to import) or damaged.
    """
    folder = root / name
    if name in BUILT_IN and not (folder / "table.json").exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{folder} cannot be written ({error.strerror}); give --data-root a writable folder."
            ) from error
        with FileLock(folder / ".lock"):
            if not (folder / "table.json").exists():
                BUILT_IN[name](folder)
    elif not (folder / "table.json").exists():
        imported = sorted(path.parent.name for path in root.glob("*/table.json"))
        known = ", ".join(dict.fromkeys([*BUILT_IN, *imported]))
        raise DataError(
            f"data set `{name}` is not in {root}; known: {known}. "
            f"Import it: python launchers/import_data.py {name} FOLDER_OF_CLASS_FOLDERS"
        )
    table = open_table(folder)
    try:
        split = Split.model_validate(table.description["split"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{folder / 'table.json'} holds no valid split; import the data set again.") from error
    return Dataset(name, table, split)
