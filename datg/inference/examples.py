"""SUPPORT and QUERIES as a user has them: class folders, a CSV of paths and labels, ``.npz``, ``.h5ad``, or picture files."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datg.data.import_settings import ImportSettings
from datg.data.importing.arrays import VectorRow
from datg.data.importing.formats import folder as class_folders
from datg.data.importing.formats import h5ad, npz
from datg.data.importing.grey_levels import with_white
from datg.data.importing.images import SUFFIXES, PictureFile
from datg.data.importing.labelled import header_of, read_table
from datg.data.importing.raw_files import is_passed_over, list_files
from datg.data.preparation import Preparation
from datg.data.raw_data import Example, RawData, RefusedExample, Workplace, listed
from datg.errors import DataError
from datg.runtime.progress import ProgressCallback

LISTS, PATH, LABEL = (".csv", ".tsv"), "path", "label"
IN_SUPPORT = "it is in SUPPORT, too"


@dataclass(frozen=True)
class Found:
    """Hold examples that are not read yet.

    Attributes:
        examples: in order.
        labels: of each; "" where it has none. None where nothing is labelled.
        names: of all classes, also of those without an example; empty where nothing is labelled.
    """

    examples: list[Any]
    labels: list[str] | None = None
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Read:
    """Hold examples as a data set holds them.

    Attributes:
        examples: `(n, *shape)`.
        sources: of each.
        labels: of each, if there are any.
        refused: by source, why an example cannot be used.
    """

    examples: npt.NDArray[Any]
    sources: list[str]
    labels: list[str] | None
    refused: dict[str, str]


@dataclass(frozen=True)
class Reader:
    """Read examples like those of one data set.

    Attributes:
        shape: of an example.
        preparation: of the data set.
        label_column: of cells; that of the data set by default.
        work: a folder for what is unpacked, and progress.
    """

    shape: tuple[int, ...]
    preparation: Preparation
    label_column: str | None
    work: Workplace

    @property
    def of_pictures(self) -> bool:
        """Return whether examples are pictures."""
        return len(self.shape) == 3

    @property
    def _settings(self) -> ImportSettings:
        return ImportSettings(image_size=self.shape[1]) if self.of_pictures else ImportSettings()

    def find(self, paths: Sequence[Path], *, labelled: bool) -> Found:
        """Find the examples in ``paths``: one file or folder, or several pictures.

        Args:
            paths: at least one.
            labelled: whether every example must have a class.

        Raises:
            DataError: there are none, they are of another kind, or some lack a class.
        """
        absent = [str(path) for path in paths if not path.exists()]
        if absent:
            raise DataError(f"{listed(absent)} does not exist; check the path.")
        found = self._find(paths, labelled=labelled)
        if not found.examples:
            raise DataError(f"{listed([str(path) for path in paths])} holds no examples.")
        if labelled and (found.labels is None or not all(found.labels)):
            raise DataError(
                f"{paths[0]} must name the class of every example: class folders, a CSV with the columns {PATH} and {LABEL}, an "
                ".npz with examples and labels, or an .h5ad with a label column."
            )
        return found

    def _find(self, paths: Sequence[Path], *, labelled: bool) -> Found:
        first = paths[0]
        suffix = first.suffix.lower()
        if len(paths) > 1 or (self.of_pictures and first.is_file() and suffix in SUFFIXES):
            return self._files(paths)
        if suffix == ".npz":
            return self._npz(first)
        if h5ad.recognise(first):
            return self._cells(first, labelled=labelled)
        if not self.of_pictures:
            raise DataError(f"{first} must be an .h5ad or .npz file: the model is of cells.")
        if first.is_file() and suffix in LISTS:
            return self._listed(first)
        if first.is_dir():
            return self._folder(first)
        raise DataError(
            f"{first} must be a folder, a picture ({', '.join(SUFFIXES)}), a CSV with the columns {PATH} and {LABEL}, or an .npz."
        )

    def _files(self, paths: Sequence[Path]) -> Found:
        others = [str(path) for path in paths if not path.is_file() or path.suffix.lower() not in SUFFIXES]
        if not self.of_pictures:
            raise DataError("several QUERIES must be pictures, but the model is of cells: give one .h5ad or .npz.")
        if others:
            raise DataError(f"several QUERIES must be pictures, but these are not: {listed(others)}.")
        return Found([PictureFile(path, str(path), self.shape[1]) for path in paths])

    def _folder(self, folder: Path) -> Found:
        loose = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
        loose = [path for path in loose if not is_passed_over(path.name)]
        if class_folders.recognise(folder) and not loose and not class_folders.holds_parts(folder):
            return _by_class(class_folders.read(folder, self._settings, self.work).classes)
        files = [path for path in list_files(folder).files if path.suffix.lower() in SUFFIXES]
        if loose and len(files) > len(loose):
            self.work.notify(f"{folder} holds pictures beside its folders, so no folder is taken for a class.")
        return Found([PictureFile.of(path, folder, self.shape[1]) for path in files])

    def _listed(self, path: Path) -> Found:
        with_labels = LABEL in header_of(path)
        rows = list(read_table(path, (PATH,), may_be_empty=(LABEL,) if with_labels else ()))
        absent = [row[PATH] for row in rows if not (path.parent / row[PATH]).is_file()]
        if absent:
            raise DataError(
                f"{path} names files that do not exist: {listed(absent)}; paths are relative to its folder."
            )
        labels = [row[LABEL] for row in rows] if with_labels else None
        pictures = [PictureFile(path.parent / row[PATH], row[PATH], self.shape[1]) for row in rows]
        return Found(pictures, labels, sorted({label for label in labels or [] if label}))

    def _npz(self, path: Path) -> Found:
        unlabelled = npz.read_unlabelled(path, self._settings, self.work)
        if unlabelled is None:
            data = npz.read(path, self._settings, self.work)
            self._check_kind(path, data.shape)
            return _by_class(data.classes)
        first = unlabelled[0]
        self._check_kind(path, first.matrix.shape[1:] if isinstance(first, VectorRow) else (3,) * 3)
        return Found(list(unlabelled))

    def _check_kind(self, path: Path, shape: tuple[int, ...]) -> None:
        if self.preparation.chosen is not None:
            raise DataError(
                f"{path} has no names of genes; the model was trained on counts of named genes: give an .h5ad."
            )
        if len(shape) != len(self.shape) or (not self.of_pictures and shape != self.shape):
            wanted = "pictures (n, height, width, 3)" if self.of_pictures else f"{self.shape[0]} numbers for each cell"
            raise DataError(f"{path} must hold {wanted}, as the model was trained on.")

    def _cells(self, path: Path, *, labelled: bool) -> Found:
        if self.of_pictures or not self.preparation.genes:
            why = "is of pictures" if self.of_pictures else "was trained on cells without names of genes: give an .npz"
            raise DataError(f"{path} holds cells, but the model {why}.")
        column = self.label_column or (self.preparation.label_column if labelled else None)
        rows, labels = h5ad.read_like(path, self.preparation, column, self.work, labels_needed=labelled)
        if labelled and labels is not None and not all(labels):
            self.work.notify(f"{labels.count('')} cells of {path} without a label in column {column} are left out.")
            rows, labels = [row for row, label in zip(rows, labels, strict=True) if label], list(filter(None, labels))
        return Found(list(rows), labels, sorted({label for label in labels or [] if label}))

    def read(self, support: Found, queries: Found) -> tuple[Read, Read]:
        """Read both; a query that is in the support set, too, is refused.

        Raises:
            DataError: a class of the support set is left without examples.
        """
        support, queries = self._with_white(support, queries)
        progress = self.work.progress
        known: set[bytes] = set()
        read_support = _read(support, progress, "support", self.shape, known)
        read_queries = _read(queries, progress, "queries", self.shape, frozenset(known))
        left = Counter(read_support.labels or [])
        empty = [name for name in support.names if not left[name]]
        if empty:
            reasons = "; ".join(f"{source}: {why}" for source, why in read_support.refused.items())
            raise DataError(
                f"SUPPORT must have an example of every class, but has none of {listed(empty)}"
                + (f" ({reasons})." if reasons else ".")
            )
        return read_support, read_queries

    def _with_white(self, *found: Found) -> tuple[Found, ...]:
        """Tell deep grey pictures which value is white, as at import."""
        if not self.of_pictures:
            return found
        data = RawData({str(index): one.examples for index, one in enumerate(found)}, self.shape)
        told = with_white(data, self.work.progress, known=self.preparation.white)
        for remark in told.remarks:
            self.work.notify(remark)
        return tuple(replace(one, examples=told.classes[str(index)]) for index, one in enumerate(found))


def _by_class(classes: Mapping[str, Iterable[Any]]) -> Found:
    pairs = [(example, name) for name, examples in classes.items() for example in examples]
    return Found([example for example, _ in pairs], [name for _, name in pairs], list(classes))


def _read(
    found: Found, progress: ProgressCallback, what: str, shape: tuple[int, ...], digests: set[bytes] | frozenset[bytes]
) -> Read:
    """Read all examples in threads, in order.

    Those of the support set add their digests to ``digests``, if that can be changed; a query with one of them is refused.
    """
    refused: dict[str, str] = {}
    kept: list[int] = []
    examples = []

    def load(example: Example) -> tuple[bytes, Any]:
        try:
            digest = example.digest()
            is_known = isinstance(digests, frozenset) and digest in digests
            return digest, RefusedExample(IN_SUPPORT) if is_known else example.read()
        except RefusedExample as reason:
            return b"", reason
        except OSError as error:
            return b"", RefusedExample(error.strerror or str(error))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for index, (digest, loaded) in enumerate(pool.map(load, found.examples)):
            progress(f"reading {what}", index + 1, len(found.examples))
            if isinstance(loaded, RefusedExample):
                refused[found.examples[index].source] = str(loaded)
                continue
            kept.append(index)
            examples.append(loaded)
            if isinstance(digests, set):
                digests.add(digest)
    labels = None if found.labels is None else [found.labels[index] for index in kept]
    dtype = np.uint8 if len(shape) == 3 else np.float32
    stacked = np.stack(examples) if examples else np.empty((0, *shape), dtype)
    return Read(stacked, [found.examples[index].source for index in kept], labels, refused)


def by_class(read: Read) -> dict[str, npt.NDArray[Any]]:
    """Return the examples of each class, by name, in the order of their first example."""
    labels = np.array(read.labels)
    return {name: read.examples[labels == name] for name in dict.fromkeys(read.labels or [])}
