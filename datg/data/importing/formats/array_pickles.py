"""``mini_imagenet_train.pkl``, ``_val.pkl`` and ``_test.pkl``: each one array `(classes, pictures, 84, 84, 3)` without names.

Classes are called ``train 00``, ``train 01``, ... by their place in the file; ``inspect_data.py --identify-by`` tells which
classes they are.
"""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.arrays import PictureRow, picture_problem
from datg.data.importing.untrusted.unpickling import read_pickles
from datg.data.raw_data import RawData, Workplace
from datg.errors import DataError

FORM = "pickled arrays of miniImageNet"
FILES = {"train": "base", "val": "validation", "test": "novel"}


def recognise(raw: Path) -> bool:
    """Return whether one of the three files is there."""
    return any(_path(raw, name).is_file() for name in FILES)


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read the three arrays.

    Raises:
        DataError: one is missing, no pickle of an array, or has another shape or dtype.
    """
    missing = [_path(raw, name).name for name in FILES if not _path(raw, name).is_file()]
    if missing:
        raise DataError(
            f"{raw} must hold mini_imagenet_train.pkl, _val.pkl and _test.pkl; missing: {', '.join(missing)}."
        )
    contents, problems = read_pickles([_path(raw, name) for name in FILES], work)
    classes: dict[str, list[PictureRow]] = {}
    parts = {}
    for name, part in FILES.items():
        path = _path(raw, name)
        if path not in contents:
            continue
        array = contents[path]
        if getattr(array, "ndim", 0) != 5 or len(array) == 0:
            shape = getattr(array, "shape", type(array).__name__)
            problems.append(f"{path} must hold one array (classes, pictures, height, width, 3), got {shape}")
            continue
        problem = picture_problem(array[0])
        if problem:
            problems.append(f"{path}: every class {problem}")
            continue
        for index, pictures in enumerate(array):
            class_ = f"{name} {index:02d}"
            parts[class_] = part
            classes[class_] = [
                PictureRow(pictures, row, f"{path.name}/{index}/{row}", settings.image_size)
                for row in range(len(pictures))
            ]
    if problems:
        raise DataError("; ".join(problems) + ".")
    return RawData(classes, shape=(3, settings.image_size, settings.image_size), parts=parts, in_file_order=True)


def _path(raw: Path, name: str) -> Path:
    return raw / f"mini_imagenet_{name}.pkl"
