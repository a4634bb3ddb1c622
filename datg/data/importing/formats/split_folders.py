"""Class folders below ``train``, ``val`` (or ``validation``) and ``test``: the folders say which classes are which."""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.formats.folder import class_folders
from datg.data.importing.images import PictureFile
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "class folders below train, val and test"
PART_OF = {"train": "base", "val": "validation", "validation": "validation", "valid": "validation", "test": "novel"}


def recognise(raw: Path) -> bool:
    """Return whether at least train and test are there, with folders in them that differ."""
    if not (raw / "train").is_dir() or not (raw / "test").is_dir():
        return False
    return not set(class_folders(raw / "train")) & set(class_folders(raw / "test"))


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """List every class folder of every part.

    Raises:
        DataError: a part is missing, or a class stands in two parts.
    """
    folders = {name: raw / name for name in PART_OF if (raw / name).is_dir()}
    if not {"train", "test"} <= set(folders):
        raise DataError(f"{raw} must hold the folders train and test, and val for validation classes.")
    classes: dict[str, list[PictureFile]] = {}
    parts: dict[str, str] = {}
    shared = []
    for name, folder in folders.items():
        for class_, paths in class_folders(folder).items():
            if parts.get(class_, PART_OF[name]) != PART_OF[name]:
                shared.append(class_)
            parts[class_] = PART_OF[name]
            classes.setdefault(class_, []).extend(PictureFile.of(path, raw, settings.image_size) for path in paths)
    if shared:
        raise DataError(
            f"a class may stand in one of {', '.join(folders)} only, but these stand in two: {listed(shared)}."
        )
    return RawData(classes, shape=(3, settings.image_size, settings.image_size), parts=parts)
