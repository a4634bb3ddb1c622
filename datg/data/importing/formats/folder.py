"""A folder of class folders: every sub-folder is a class, every file in it (at any depth) a picture."""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.images import PictureFile
from datg.data.importing.raw_files import class_folders, class_names, remark_on
from datg.data.raw_data import RawData, Workplace
from datg.errors import DataError

FORM = "folder of class folders"
PART_NAMES = ("train", "val", "validation", "valid", "test")


def recognise(raw: Path) -> bool:
    """Return whether it is a folder with a sub-folder: the last form to be tried."""
    return raw.is_dir() and any(path.is_dir() for path in raw.iterdir())


def holds_parts(raw: Path) -> bool:
    """Return whether all folders of ``raw`` are called as parts of a split are, so that none is a class."""
    names = class_names(raw)
    return bool(names) and set(names) <= set(PART_NAMES)


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """List every class folder.

    Raises:
        DataError: ``raw`` is missing or holds no pictures.
    """
    if not raw.is_dir():
        raise DataError(f"{raw} is not a folder; give a folder that holds one folder a class.")
    found = dict(class_folders(raw))
    classes = {
        name: [PictureFile.of(path, raw, settings.image_size) for path in listing.files]
        for name, listing in found.items()
    }
    if holds_parts(raw):
        raise DataError(
            f"the folders of {raw} are called {', '.join(classes)}, which are not classes; put all their class folders into one, "
            "or give --form split-folders (other classes in each) or super-classes (classes in the file names)."
        )
    if not any(classes.values()):
        raise DataError(f"{raw} holds no class folders with files; give a folder that holds one folder a class.")
    shape = (3, settings.image_size, settings.image_size)
    return RawData(classes, shape=shape, remarks=remark_on(list(found.values()), raw))
