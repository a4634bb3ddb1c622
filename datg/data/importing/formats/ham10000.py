"""HAM10000, the pictures of ISIC 2018 task 3 as they are otherwise distributed: image folders and a table of metadata."""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.labelled import Label, label_pictures, pictures_in, read_table, tables_in
from datg.data.importing.raw_files import class_names
from datg.data.raw_data import RawData, Workplace
from datg.errors import DataError

FORM = "HAM10000"
METADATA = "HAM10000_metadata.csv"  # its usual name; Dataverse calls it .tab
COLUMNS = ("image_id", "dx", "lesion_id")
FOLDERS = "HAM10000_images*"


def recognise(raw: Path) -> bool:
    """Return whether a table with the columns of the metadata is there."""
    return raw.is_dir() and bool(_tables(raw))


def _tables(raw: Path) -> list[Path]:
    """Return the table with its usual name, or those that have its columns."""
    return [raw / METADATA] if (raw / METADATA).is_file() else tables_in(raw, COLUMNS)


def near_miss(raw: Path) -> str:
    """Return what is missing where the folders of pictures are there."""
    found = next((path.name for path in sorted(raw.glob(FOLDERS))), None)
    if found is None:
        return ""
    return f"{raw} looks like HAM10000 ({found}), but has no table with {', '.join(COLUMNS)}, usually called {METADATA}"


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read labels and lesions and find the pictures; diagnoses are written as ISIC does (``nv`` is NV).

    Raises:
        DataError: the metadata are missing or lack columns, or pictures and labels do not fit.
    """
    tables = _tables(raw)
    if not tables:
        raise DataError(
            f"{raw} must hold {METADATA}, a table with {', '.join(COLUMNS)}, and folders of pictures such as "
            "HAM10000_images_part_1."
        )
    folders = sorted(path for path in raw.glob(FOLDERS) if path.is_dir()) or [
        raw,
        *(raw / name for name in class_names(raw)),
    ]
    labels = [Label(row["image_id"], row["dx"].upper(), row["lesion_id"]) for row in read_table(tables[0], COLUMNS)]
    classes = label_pictures(pictures_in(folders), labels, raw, settings.image_size)
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))
