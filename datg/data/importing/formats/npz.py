"""An ``.npz`` of the user's own: ``examples`` with ``labels`` (and ``groups``), or one array for each class.

Pictures are `(n, height, width, 3)` uint8, cells `(n, d)` numbers. Nothing is unpickled.
"""

import shutil
from pathlib import Path

import numpy as np

from datg.data.import_settings import ImportSettings
from datg.data.importing.arrays import Array, PictureRow, VectorRow, open_array, picture_problem
from datg.data.importing.raw_files import is_passed_over
from datg.data.importing.untrusted.archives import unpack
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = ".npz of arrays"


def recognise(raw: Path) -> bool:
    """Return whether it has the suffix, or is a folder that holds one such file and nothing else."""
    return _path(raw) is not None


def _path(raw: Path) -> Path | None:
    if raw.is_dir():
        inside = [path for path in raw.iterdir() if not is_passed_over(path.name)]
        raw = inside[0] if len(inside) == 1 else raw
    return raw if raw.is_file() and raw.suffix.lower() == ".npz" else None


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read labels, and map the examples.

    Raises:
        DataError: it is no such file, holds objects, arrays do not fit each other, or numbers are not finite.
    """
    arrays = _arrays(raw, work)
    if "examples" in arrays or "labels" in arrays:
        return _labelled(raw, arrays, settings)
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    wrong = [f"{name}: {problem}" for name, array in arrays.items() if (problem := _problem(array))]
    if not wrong and len(set(shapes.values())) > 1 and any(len(shape) == 1 for shape in shapes.values()):
        wrong = [f"cells of all classes must be equally long, got {sorted(set(shapes.values()))}"]
    if wrong:
        raise DataError(f"{raw} cannot be used: {listed(wrong)}.")
    classes = {name: [_row(array, row, name, settings) for row in range(len(array))] for name, array in arrays.items()}
    return _data(classes, next(iter(arrays.values())), settings)


def read_unlabelled(raw: Path, settings: ImportSettings, work: Workplace) -> list[PictureRow | VectorRow] | None:
    """Return the rows of the array ``examples`` if it is the only one; None of another file.

    Raises:
        DataError: it is no such file, holds objects, or examples are neither pictures nor numbers.
    """
    arrays = _arrays(raw, work)
    if set(arrays) != {"examples"}:
        return None
    examples = arrays["examples"]
    if problem := _problem(examples):
        raise DataError(f"{raw} cannot be used: {problem}.")
    return [_row(examples, row, "examples", settings) for row in range(len(examples))]


def _arrays(raw: Path, work: Workplace) -> dict[str, Array]:
    """Map all arrays of the file, by name."""
    path = _path(raw)
    if path is None:
        raise DataError(f"{raw} must be an .npz file, or a folder with one and nothing else.")
    raw = path
    folder = work.folder / f"npz-{raw.stem}"
    shutil.rmtree(folder, ignore_errors=True)
    unpack(raw, folder)
    arrays, problems = {}, []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(folder).as_posix().removesuffix(".npy")
        try:
            arrays[name] = open_array(path)
        except ValueError as error:
            objects = "object" in str(error).lower()
            problems.append(
                f"{name} {'holds Python objects, which are not unpickled' if objects else f'is no array ({error})'}"
            )
    if not arrays and not problems:
        problems.append("it is empty")
    if problems:
        raise DataError(f"{raw} cannot be used: " + "; ".join(problems) + ".")
    return arrays


def _labelled(raw: Path, arrays: dict[str, Array], settings: ImportSettings) -> RawData:
    absent = [name for name in ("examples", "labels") if name not in arrays]
    unknown = sorted(set(arrays) - {"examples", "labels", "groups"})
    if absent or unknown:
        what = f"lacks {', '.join(absent)}" if absent else f"holds {listed(unknown)} beside examples, labels and groups"
        raise DataError(f"{raw} {what}; give examples, labels and perhaps groups, or one array for each class.")
    examples, labels, groups = arrays["examples"], arrays["labels"], arrays.get("groups")
    problem = _problem(examples)
    for name, array in (("labels", labels), ("groups", groups)):
        if array is None or problem:
            continue
        if array.ndim != 1 or len(array) != len(examples) or array.dtype.kind not in "iuUS":
            kind = f"{array.dtype} {array.shape}"
            problem = f"{name} must be one whole number or text for each of {len(examples)} examples, got {kind}"
    if problem:
        raise DataError(f"{raw} cannot be used: {problem}.")
    try:
        names = [_text(label) for label in labels]
        places = [""] * len(names) if groups is None else [_text(group) for group in groups]
    except (UnicodeError, SystemError) as error:
        raise DataError(f"{raw} cannot be used: labels and groups must be text in UTF-8 ({error}).") from error
    classes: dict[str, list[PictureRow | VectorRow]] = {name: [] for name in sorted(set(names))}
    for row, (name, group_name) in enumerate(zip(names, places, strict=True)):
        classes[name].append(_row(examples, row, "examples", settings, group_name))
    return _data(classes, examples, settings)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _problem(array: Array) -> str:
    if array.ndim != 2:
        return picture_problem(array)
    if array.dtype.kind not in "iuf" or 0 in array.shape:
        return f"must be numbers, got {array.dtype} {array.shape}"
    wrong = [index for index in range(0, len(array), 1024) if not np.isfinite(array[index : index + 1024]).all()]
    return f"must be finite, but rows from {wrong[0]} on hold NaN or infinity" if wrong else ""


def _row(array: Array, row: int, name: str, settings: ImportSettings, group: str = "") -> PictureRow | VectorRow:
    source = f"{name}/{row}"
    if array.ndim == 2:
        return VectorRow(array, row, source, group)
    return PictureRow(array, row, source, settings.image_size, group)


def _data(classes: dict[str, list[PictureRow | VectorRow]], like: Array, settings: ImportSettings) -> RawData:
    if like.ndim == 2:
        return RawData(classes, shape=tuple(like.shape[1:]), dtype="float32")
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))
