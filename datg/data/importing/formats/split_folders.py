"""Class folders below ``train``, ``val`` (or ``validation``) and ``test``: the folders say which classes are which."""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.images import PictureFile
from datg.data.importing.raw_files import class_folders, class_names, remark_on
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "class folders below train, val and test"
PART_OF = {"train": "base", "val": "validation", "validation": "validation", "valid": "validation", "test": "novel"}


def recognise(raw: Path) -> bool:
    """Return whether at least train and test are there, with folders in them that differ."""
    if not (raw / "train").is_dir() or not (raw / "test").is_dir():
        return False
    return not set(class_names(raw / "train")) & set(class_names(raw / "test"))


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
    shared, listings = [], []
    for name, folder in folders.items():
        for class_, listing in class_folders(folder):
            listings.append(listing)
            if parts.get(class_, PART_OF[name]) != PART_OF[name]:
                shared.append(class_)
            parts[class_] = PART_OF[name]
            classes.setdefault(class_, []).extend(
                PictureFile.of(path, raw, settings.image_size) for path in listing.files
            )
    if shared:
        raise DataError(
            f"a class may stand in one of {', '.join(folders)} only, but these stand in two: {listed(shared)}."
        )
    shape = (3, settings.image_size, settings.image_size)
    return RawData(classes, shape=shape, parts=parts, remarks=remark_on(listings, raw))
