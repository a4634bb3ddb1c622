"""HAM10000, the pictures of ISIC 2018 task 3 as they are otherwise distributed: image folders and a metadata CSV."""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.labelled import Label, label_pictures, pictures_in, read_table
from datg.data.raw_data import RawData, Workplace
from datg.errors import DataError

FORM = "HAM10000"
METADATA = "HAM10000_metadata.csv"
FOLDERS = "HAM10000_images*"


def recognise(raw: Path) -> bool:
    """Return whether the metadata are there."""
    return (raw / METADATA).is_file()


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read labels and lesions and find the pictures; diagnoses are written as ISIC does (``nv`` is NV).

    Raises:
        DataError: the metadata are missing or lack columns, or pictures and labels do not fit.
    """
    folders = sorted(path for path in raw.glob(FOLDERS) if path.is_dir())
    if not folders or not recognise(raw):
        raise DataError(
            f"{raw} must hold {METADATA} and the folders HAM10000_images_part_1 and HAM10000_images_part_2."
        )
    rows = read_table(raw / METADATA, ("image_id", "dx", "lesion_id"))
    labels = [Label(row["image_id"], row["dx"].upper(), row["lesion_id"]) for row in rows]
    classes = label_pictures(pictures_in(folders), labels, raw, settings.image_size)
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))
