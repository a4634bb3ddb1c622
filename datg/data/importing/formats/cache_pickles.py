"""``mini-imagenet-cache-train.pkl``, ``-val.pkl`` (or ``-validation``) and ``-test.pkl``: dicts of pictures and class names.

``image_data`` is `(n, 84, 84, 3)`, ``class_dict`` maps each WordNet id to the rows of its pictures.
"""

from pathlib import Path
from typing import Any

import numpy as np

from datg.data.import_settings import ImportSettings
from datg.data.importing.arrays import PictureRow, picture_problem
from datg.data.importing.untrusted.unpickling import read_pickles
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "pickled caches of miniImageNet"
FILES = {"base": ("train",), "validation": ("val", "validation"), "novel": ("test",)}


def recognise(raw: Path) -> bool:
    """Return whether one of the files is there."""
    return raw.is_dir() and any(raw.glob("mini-imagenet-cache-*.pkl"))


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read the three files.

    Raises:
        DataError: one is missing, no pickle of such a dict, or has another shape or dtype, rows that do not exist or belong to
            two classes, or a class of another file.
    """
    paths = {part: _path(raw, names) for part, names in FILES.items()}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(
            f"{raw} must hold mini-imagenet-cache-train.pkl, -val.pkl and -test.pkl; missing: {', '.join(missing)}."
        )
    contents, problems = read_pickles(list(paths.values()), work)
    classes: dict[str, list[PictureRow]] = {}
    parts: dict[str, str] = {}
    for part, path in paths.items():
        if path not in contents:
            continue
        content = contents[path]
        problem = _problem(content)
        if problem:
            problems.append(f"{path} {problem}")
            continue
        shared = sorted(set(content["class_dict"]) & set(classes))
        if shared:
            problems.append(f"{path} holds classes of another file: {listed(shared)}")
        for name, rows in content["class_dict"].items():
            parts[name] = part
            classes[name] = [
                PictureRow(content["image_data"], int(row), f"{path.name}/{row}", settings.image_size) for row in rows
            ]
    if problems:
        raise DataError("; ".join(problems) + ".")
    return RawData(dict(sorted(classes.items())), shape=(3, settings.image_size, settings.image_size), parts=parts)


def _path(raw: Path, names: tuple[str, ...]) -> Path:
    paths = [raw / f"mini-imagenet-cache-{name}.pkl" for name in names]
    return next((path for path in paths if path.is_file()), paths[0])


def _problem(content: Any) -> str:
    """Return what keeps ``content`` from being a cache; "" if nothing."""
    if not isinstance(content, dict) or {"image_data", "class_dict"} - set(content):
        return "must hold a dict with image_data and class_dict"
    pictures, rows_of = content["image_data"], content["class_dict"]
    problem = picture_problem(pictures) if isinstance(pictures, np.ndarray) else "must be an array"
    if problem:
        return f"must have pictures as image_data: it {problem}"
    if not isinstance(rows_of, dict) or not all(isinstance(name, str) for name in rows_of):
        return "must have a class_dict of names and rows"
    flat = [rows.tolist() if isinstance(rows, np.ndarray) else rows for rows in rows_of.values()]
    if not all(isinstance(rows, list) for rows in flat):
        return "must have a list of rows for each class of class_dict"
    every = [row for rows in flat for row in rows]
    if any(not isinstance(row, int) or not 0 <= row < len(pictures) for row in every):
        return f"has rows in class_dict that are not among its {len(pictures)} pictures"
    if len(set(every)) != len(every):
        return f"gives {len(every) - len(set(every))} pictures two labels"
    return f"has {len(pictures) - len(every)} pictures without a label" if len(every) != len(pictures) else ""
