"""Pictures whose class stands in a table and not in their path: every picture needs a label, every label a picture."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datg.data.importing.images import SUFFIXES, PictureFile
from datg.data.importing.raw_files import is_passed_over
from datg.data.raw_data import listed
from datg.errors import DataError

TABLES, HEADER_LENGTH = (".csv", ".tsv", ".tab", ".txt", ""), 4096


@dataclass(frozen=True)
class Label:
    """Hold one line of a table.

    Attributes:
        picture: file name, with or without suffix.
        group: what pictures of one group share, such as their lesion.
    """

    picture: str
    name: str
    group: str = ""


def read_table(path: Path, columns: Sequence[str], *, may_be_empty: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Return the lines of a CSV file, or of one with tabs, that must have ``columns`` and those that ``may_be_empty``.

    Raises:
        DataError: it is missing, no text, lacks columns, or has a line without a value for one of them.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text file"
        raise DataError(f"{path} cannot be read ({reason}); it must be a CSV file.") from error
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = lines.fieldnames or []
        rows = [{key: (value or "").strip() for key, value in row.items() if isinstance(key, str)} for row in lines]
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV ({error}); check its quotation marks.") from error
    missing = [column for column in (*columns, *may_be_empty) if column not in header]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has: {listed(list(header)) or 'none'}.")
    short = [str(number) for number, row in enumerate(rows, 2) if not all(row[column] for column in columns)]
    if short:
        raise DataError(f"{path} must have a value in {', '.join(columns)} on every line; missing on: {listed(short)}.")
    return iter(rows)


def header_of(path: Path) -> list[str]:
    """Return the columns of a CSV file, or of one with tabs; none of what is no text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline(HEADER_LENGTH)
    except (OSError, UnicodeDecodeError):
        return []
    return [column.strip().strip('"') for column in first.split("\t" if "\t" in first else ",")]


def tables_in(raw: Path, columns: Sequence[str]) -> list[Path]:
    """Return the files directly in ``raw`` that are tables with ``columns``, whatever they are called."""
    files = [path for path in sorted(raw.iterdir()) if path.suffix.lower() in TABLES and path.is_file()]
    return [path for path in files if set(columns) <= set(header_of(path))]


def pictures_in(folders: Iterable[Path]) -> list[Path]:
    """Return all pictures in ``folders``, by their suffix; other files (licences, lists) are passed over."""
    return sorted(
        path
        for folder in folders
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not is_passed_over(path.name) and path.is_file()
    )


def label_pictures(pictures: list[Path], labels: Iterable[Label], raw: Path, size: int) -> dict[str, list[PictureFile]]:
    """Return classes, sorted by name, of pictures with their labels.

    Raises:
        DataError: a picture without label, a label without picture, or a picture with two labels; all of them.
    """
    by_name = {path.stem: path for path in pictures}
    twice_there = sorted({path.stem for path in pictures if by_name[path.stem] != path})
    label_by_stem: dict[str, Label] = {}
    contradicted, absent = [], []
    for label in labels:
        stem = Path(label.picture).stem if Path(label.picture).suffix.lower() in SUFFIXES else label.picture
        if label_by_stem.get(stem, label).name != label.name:
            contradicted.append(f"{stem} ({label_by_stem[stem].name}, {label.name})")
        if stem not in by_name:
            absent.append(stem)
        label_by_stem.setdefault(stem, label)
    unlabelled = [path.name for path in pictures if path.stem not in label_by_stem]
    problems = {
        "pictures with two labels": contradicted,
        "labels without a picture": absent,
        "pictures without a label": unlabelled,
        "pictures of the same name": twice_there,
    }
    wrong = [f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names]
    if wrong:
        raise DataError(f"the pictures and labels of {raw} do not match: " + "; ".join(wrong) + ".")
    classes: dict[str, list[PictureFile]] = {
        name: [] for name in sorted({label.name for label in label_by_stem.values()})
    }
    for path in pictures:
        label = label_by_stem[path.stem]
        classes[label.name].append(PictureFile.of(path, raw, size, label.group))
    return classes
