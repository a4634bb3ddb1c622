"""A folder of class folders: every sub-folder is a class, every file in it (at any depth) a picture."""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.images import PictureFile
from datg.data.raw_data import RawData, Workplace
from datg.errors import DataError

FORM = "folder of class folders"
PART_NAMES = ("train", "val", "validation", "valid", "test")


def recognise(raw: Path) -> bool:
    """Return whether it is a folder with a sub-folder: the last form to be tried."""
    return raw.is_dir() and any(path.is_dir() for path in raw.iterdir())


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """List every class folder.

    Raises:
        DataError: ``raw`` is missing or holds no pictures.
    """
    if not raw.is_dir():
        raise DataError(f"{raw} is not a folder; give a folder that holds one folder a class.")
    classes = {
        name: [PictureFile.of(path, raw, settings.image_size) for path in paths]
        for name, paths in class_folders(raw).items()
    }
    if classes and set(classes) <= set(PART_NAMES):
        raise DataError(
            f"the folders of {raw} are called {', '.join(classes)}, which are no classes; put the class folders of all into one, "
            "or give --form split-folders (other classes in each) or super-classes (classes in the file names)."
        )
    if not any(classes.values()):
        raise DataError(f"{raw} holds no class folders with files; give a folder that holds one folder a class.")
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))


def class_folders(raw: Path) -> dict[str, list[Path]]:
    """Return the files of every sub-folder, both sorted by name; names that begin with a dot are passed over."""
    files = {}
    for folder in sorted(raw.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            inside = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
            files[folder.name] = sorted(inside)
    return files
