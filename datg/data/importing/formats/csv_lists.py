"""A folder ``images`` with ``train.csv``, ``val.csv`` and ``test.csv``: miniImageNet as Ravi and Larochelle split it.

The lists have the columns ``filename,label``, or ``image_name,class_name`` with the names of ImageNet.
"""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.labelled import Label, label_pictures, pictures_in, read_table
from datg.data.importing.raw_files import class_names
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "images with train.csv, val.csv and test.csv"
PART_OF = {"train.csv": "base", "val.csv": "validation", "test.csv": "novel"}
HEADERS = (("filename", "label"), ("image_name", "class_name"))


def recognise(raw: Path) -> bool:
    """Return whether the folder and at least one of the lists are there."""
    return (raw / "images").is_dir() and any((raw / name).is_file() for name in PART_OF)


def near_miss(raw: Path) -> str:
    """Return what is missing where pictures are there in the folder that lists would name."""
    if class_names(raw) != ["images"]:
        return ""
    return f"{raw} looks like pictures in images/ with lists, but has none of {', '.join(PART_OF)}"


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read the lists and find their pictures.

    Raises:
        DataError: a list is missing or lacks columns, a class stands in two lists, or pictures and labels do not fit.
    """
    missing = [name for name in PART_OF if not (raw / name).is_file()]
    if missing or not (raw / "images").is_dir():
        raise DataError(
            f"{raw} must hold images/, train.csv, val.csv and test.csv; missing: {', '.join(missing) or 'images/'}."
        )
    labels: list[Label] = []
    parts: dict[str, str] = {}
    shared, problems = set(), []
    for name, part in PART_OF.items():
        try:
            file_labels = _labels(raw / name)
        except DataError as error:
            problems.append(str(error))
            continue
        for label in file_labels:
            if parts.setdefault(label.name, part) != part:
                shared.add(label.name)
            labels.append(label)
    if problems:
        raise DataError("\n".join(problems))
    if shared:
        raise DataError(
            f"a class may stand in one list of {raw} only, but these stand in two: {listed(sorted(shared))}."
        )
    classes = label_pictures(pictures_in([raw / "images"]), labels, raw, settings.image_size)
    return RawData(classes, shape=(3, settings.image_size, settings.image_size), parts=parts)


def _labels(path: Path) -> list[Label]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    picture, name = next((header for header in HEADERS if header[0] in first), HEADERS[0])
    return [Label(Path(row[picture]).name, row[name]) for row in read_table(path, (picture, name))]
