"""Pickled dicts of classes: ``Dermnet_all_84.pkl``, or ``ISIC_train.pkl`` with ``ISIC_test.pkl``.

Each maps a class name to its pictures `(n, 84, 84, 3)`. Of a pair, the classes of ``_train`` are base, those of ``_test`` novel.
"""

from pathlib import Path
from typing import Any

import numpy as np

from datg.data.import_settings import ImportSettings
from datg.data.importing.arrays import PictureRow, picture_problem
from datg.data.importing.untrusted.unpickling import read_pickles
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "pickled dicts of classes"
PART_OF = {"_train": "base", "_val": "validation", "_test": "novel"}


def recognise(raw: Path) -> bool:
    """Return whether it is a pickle, or a folder with one or a training/test pair."""
    return bool(_paths(raw))


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read every pickle.

    Raises:
        DataError: there is none, one is no pickle of such a dict or has another shape or dtype, or a class stands in two.
    """
    paths = _paths(raw)
    if not paths:
        raise DataError(f"{raw} must be a pickle, or hold one, or a pair that ends in _train.pkl and _test.pkl.")
    contents, problems = read_pickles(paths, work)
    classes: dict[str, list[PictureRow]] = {}
    parts: dict[str, str] = {}
    for path, content in contents.items():
        faults = _problems(content)
        shared = [] if faults else sorted({str(name) for name in content} & set(classes))
        if shared:
            faults.append(f"holds classes of another file: {listed(shared)}")
        problems += [f"{path} {problem}" for problem in faults]
        if faults:
            continue
        part = next((part for ending, part in PART_OF.items() if path.stem.lower().endswith(ending)), None)
        for name, pictures in content.items():
            classes[str(name)] = [
                PictureRow(pictures, row, f"{path.name}/{name}/{row}", settings.image_size)
                for row in range(len(pictures))
            ]
            if part is not None:
                parts[str(name)] = part
    if problems:
        raise DataError("; ".join(problems) + ".")
    return RawData(dict(sorted(classes.items())), shape=(3, settings.image_size, settings.image_size), parts=parts)


def _paths(raw: Path) -> list[Path]:
    if raw.is_file():
        return [raw] if raw.suffix.lower() in (".pkl", ".pickle") else []
    pickles = sorted(raw.glob("*.pkl")) if raw.is_dir() else []
    pair = [path for path in pickles if any(path.stem.lower().endswith(ending) for ending in PART_OF)]
    return pickles if len(pickles) == 1 or len(pair) == len(pickles) else []


def _problems(content: Any) -> list[str]:
    if not isinstance(content, dict) or not content:
        return [f"must hold a dict of class names and pictures, got {type(content).__name__}"]
    if len({str(name) for name in content}) != len(content):
        return ["has a class both as a number and as text"]
    wrong = {
        name: picture_problem(pictures) if isinstance(pictures, np.ndarray) else "must be an array"
        for name, pictures in content.items()
    }
    return [f"class {name}: {problem}" for name, problem in wrong.items() if problem]
