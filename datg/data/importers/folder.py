"""Imports a folder of class folders: every sub-folder is a class, every file in it (at any depth) a picture.

Exact duplicates (equal SHA-256 of the file) are kept once inside a class. A picture found in two classes would leak
from base to novel classes, so it is dropped from both unless asked otherwise.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from datg.data.class_table import ClassTable, TableWriter
from datg.data.importers.images import RefusedImage, decode_image
from datg.data.splits import Split
from datg.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
ChooseSplit = Callable[[dict[str, int]], Split]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """How a folder is read.

    Attributes:
        image_size: side of the stored pictures in pixels.
        min_images: classes with fewer kept pictures are left out.
        keep_duplicates: keep a picture that stands in several classes.
    """

    image_size: int = 84
    min_images: int = 20
    keep_duplicates: bool = False


def import_folder(
    raw: Path, folder: Path, *, options: FolderOptions, choose_split: ChooseSplit, progress: Progress
) -> ClassTable:
    """Reads ``raw`` into a class table in ``folder``; the report of what was found is in its description.

    Args:
        raw: a folder of class folders.
        folder: where the data set is written; an earlier one there is replaced in one step.
        options: see :class:`FolderOptions`.
        choose_split: the protocol; called with the counts of the kept classes.
        progress: called as ``progress(what, done, total)``.

    Raises:
        DataError: ``raw`` is missing or holds no pictures, or the classes do not suffice for the protocol.
    """
    files = _list_files(raw)
    hashes = {}
    every = [path for paths in files.values() for path in paths]
    for index, (path, digest) in enumerate(_in_threads(_hash_file, every)):
        hashes[path] = digest
        progress("reading", index + 1, len(every))
    kept, duplicates = _drop_duplicates(files, hashes, keep_across=options.keep_duplicates)
    candidates = {name: paths for name, paths in kept.items() if len(paths) >= options.min_images}
    refused: dict[str, str] = {}
    with TableWriter(folder, shape=(3, options.image_size, options.image_size), dtype="uint8") as writer:
        counts = _write_classes(writer, raw, candidates, hashes, options, refused, progress)
        if not counts:
            raise DataError(_nothing_left(raw, kept, refused, options.min_images))
        report = {
            "files": sum(map(len, files.values())),
            "classes found": len(files),
            "classes kept": len(counts),
            "examples kept": sum(counts.values()),
            **duplicates,
            "classes below --min-images": len(files) - len(counts),
            "refused": refused,
        }
        options_used = {"form": "folder", **vars(options)}
        try:
            split = choose_split(counts)
        except DataError as error:
            raise DataError(f"{error} {_classes_by_minimum(kept)}") from None
        return writer.finish(
            {"importer": "folder", "options": options_used, "report": report, "split": split.model_dump()}
        )


def _list_files(raw: Path) -> dict[str, list[Path]]:
    """The files of every class folder, both sorted by name; names that begin with a dot are passed over."""
    if not raw.is_dir():
        raise DataError(f"{raw} is not a folder; give a folder that holds one folder a class.")
    files = {}
    for folder in sorted(raw.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            inside = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
            files[folder.name] = sorted(inside)
    if not any(files.values()):
        raise DataError(f"{raw} holds no class folders with files; give a folder that holds one folder a class.")
    return files


def _hash_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Maps with one thread a core, in order, never more than a few dozen results ahead of the consumer."""
    workers = os.cpu_count() or 1
    iterator = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = [(item, pool.submit(function, item)) for item in islice(iterator, 16 * workers)]
        while waiting:
            item, future = waiting.pop(0)
            yield item, future.result()
            waiting += [(item, pool.submit(function, item)) for item in islice(iterator, 1)]


def _drop_duplicates(
    files: dict[str, list[Path]], hashes: dict[Path, bytes], *, keep_across: bool
) -> tuple[dict[str, list[Path]], dict[str, int]]:
    """The files to keep by class, and how many duplicates there were inside and across classes."""
    unique: dict[str, list[Path]] = {}
    for name, paths in files.items():
        first: dict[bytes, Path] = {}
        for path in paths:
            first.setdefault(hashes[path], path)
        unique[name] = list(first.values())
    classes_of = Counter(hashes[path] for paths in unique.values() for path in paths)
    counts = {
        "duplicates inside a class": sum(len(files[name]) - len(unique[name]) for name in files),
        "pictures in several classes": sum(1 for count in classes_of.values() if count > 1),
        "copies across classes dropped": 0 if keep_across else sum(n for n in classes_of.values() if n > 1),
    }
    if keep_across:
        return unique, counts
    return {name: [path for path in paths if classes_of[hashes[path]] == 1] for name, paths in unique.items()}, counts


def _write_classes(
    writer: TableWriter,
    raw: Path,
    candidates: dict[str, list[Path]],
    hashes: dict[Path, bytes],
    options: FolderOptions,
    refused: dict[str, str],
    progress: Progress,
) -> dict[str, int]:
    """Decodes class by class; a class that falls below the minimum because of refused files is left out."""

    def decode(path: Path) -> Any:
        try:
            return decode_image(path, size=options.image_size)
        except RefusedImage as reason:
            return reason

    counts: dict[str, int] = {}
    total, done = sum(map(len, candidates.values())), 0
    for name, paths in candidates.items():
        usable = 0
        for path, example in _in_threads(decode, paths):
            done += 1
            progress("decoding", done, total)
            if isinstance(example, RefusedImage):
                refused[str(path.relative_to(raw))] = str(example)
            else:
                usable += 1
                writer.add(example, class_name=name, source=str(path.relative_to(raw)), sha256=hashes[path])
        if usable >= options.min_images:
            counts[name] = usable
        elif usable:
            writer.discard_last_class()
    return counts


def _classes_by_minimum(kept: dict[str, list[Path]]) -> str:
    sizes = [len(paths) for paths in kept.values()]
    numbers = ", ".join(f"{least}: {sum(size >= least for size in sizes)}" for least in (1, 2, 5, 10, 16, 20, 30, 50))
    return f"Classes left by --min-images: {numbers}."


def _nothing_left(raw: Path, kept: dict[str, list[Path]], refused: dict[str, str], min_images: int) -> str:
    largest = max(map(len, kept.values()))
    message = (
        f"no class of {raw} has at least {min_images} usable pictures (the largest has {largest}); lower --min-images."
    )
    if refused:
        first = next(iter(refused.items()))
        message += f" {len(refused)} files were refused, for instance {first[0]}: {first[1]}."
    return message
