"""From the classes that an importer found to a class table: the same rules for every raw form.

Exact duplicates (equal SHA-256 of what the raw files store) are kept once inside a class. An example found in two classes would
leak from base to novel classes, so it is dropped from both unless asked otherwise.
"""

import os
import shlex
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from datg.data.class_names import as_known, normal
from datg.data.class_table import ClassTable, TableWriter
from datg.data.import_settings import PARTS, ImportSettings
from datg.data.importing.grey_levels import with_white
from datg.data.protocols.protocol import SplitProtocol
from datg.data.raw_data import Example, RawClasses, RawData, RefusedExample, listed
from datg.data.splits import HELD_OUT, AvailableClasses, Split, TaskSize, check_split, check_tasks
from datg.errors import DataError
from datg.runtime.progress import ProgressCallback

Item = TypeVar("Item")
Result = TypeVar("Result")
COPIES = 2  # of the examples on the disk while a table is written
SPARE_BYTES = 64 << 20
# How data sets call what is of no class, or of any.
NO_CLASSES = {"unknown", "unassigned", "unlabeled", "unlabelled", "undefined", "none", "nan", "na", "n/a", "unk", "?"}
NO_CLASSES |= {"other", "others"}
FLAT = 4  # values of 256: a picture whose values differ by less shows nothing


def assemble(
    data: RawData,
    folder: Path,
    *,
    protocol: SplitProtocol,
    settings: ImportSettings,
    task: TaskSize | None,
    description: dict[str, Any],
    progress: ProgressCallback,
) -> ClassTable:
    """Write what was found into a class table in ``folder``; an earlier one there is replaced in one step.

    Args:
        data: what an importer found.
        folder: of the data set.
        protocol: how classes are split.
        settings: what importer and protocol were told.
        task: tasks that every part must have enough classes and examples for.
        description: what ``table.json`` says beside report and split.
        progress: called as ``progress(what, done, total)``.

    Raises:
        DataError: classes, examples or room on the disk do not suffice; nothing is left behind.
    """
    data = _without_excluded(data, settings.exclude)
    _check_names(data.classes)
    data = with_white(data, progress)
    digests = _digests(data.classes, progress)
    kept, duplicates = drop_duplicates(data.classes, digests, keep_across=settings.duplicates == "keep")
    whole = replace(data, classes=kept)
    divided = protocol.divide(whole, settings) if protocol.divide else whole
    candidates = {name: items for name, items in divided.classes.items() if len(items) >= settings.min_examples}
    if candidates:  # checks that need no decoded example come first
        found = {name: len(items) for name, items in candidates.items()}
        _check_tasks(_choose(divided, found, protocol, settings, task), found, task)
    _check_room(folder, sum(map(len, candidates.values())) * prod(data.shape) * np.dtype(data.dtype).itemsize)
    refused: dict[str, str] = {}
    with TableWriter(folder, shape=data.shape, dtype=data.dtype) as writer:
        flat: list[str] = []
        counts = _write_classes(writer, candidates, digests, settings.min_examples, refused, flat, progress)
        if not counts:
            raise DataError(_nothing_left(divided.classes, refused, duplicates, settings.min_examples))
        report = {
            "examples found": sum(map(len, data.classes.values())),
            "classes found": len(data.classes),
            "classes kept": len(counts),
            "examples kept": sum(counts.values()),
            **duplicates,
            "classes below --min-examples": len(divided.classes) - len(counts),
            "refused": refused,
        }
        split = _choose(divided, counts, protocol, settings, task)
        _check_tasks(split, counts, task)
        if protocol.divide is None and (apart := _groups_in_several_parts(kept, split)):
            remark = f"{apart} groups of examples (such as patients) stand in several parts; --protocol groups keeps them apart."
            split = split.model_copy(update={"remarks": [*split.remarks, remark]})
        if flat:
            remark = f"{len(flat)} pictures have (nearly) one colour, for instance {flat[0]}."
            split = split.model_copy(update={"remarks": [*split.remarks, remark]})
        told = {"report": report, "split": split.model_dump(), "preparation": data.preparation.to_dict()}
        return writer.finish({**description, **told})


def _groups_in_several_parts(classes: RawClasses, split: Split) -> int:
    parts: dict[str, set[str]] = defaultdict(set)
    for part in PARTS:
        for name in split.part(part):
            for group in {example.group for example in classes[name] if example.group}:
                parts[group].add(part)
    return sum(len(found) > 1 for found in parts.values())


def _check_tasks(split: Split, counts: Mapping[str, int], task: TaskSize | None) -> None:
    if task is not None:
        parts = {part: {name: counts[name] for name in split.part(part)} for part in PARTS}
        check_tasks(parts, ways=task.ways, shots=task.shots, queries=task.queries)


def _choose(
    data: RawData, counts: dict[str, int], protocol: SplitProtocol, settings: ImportSettings, task: TaskSize | None
) -> Split:
    ways = TaskSize().ways if task is None else task.ways
    try:
        split = protocol.choose(AvailableClasses(counts, data.parts, data.in_file_order, ways), settings)
    except DataError as error:
        raise DataError(f"{error} {_classes_by_minimum(data.classes)}") from None
    split = split.model_copy(update={part: as_known(split.part(part), counts) for part in PARTS})
    check_split(split, counts)
    return split.model_copy(update={"remarks": [*data.remarks, *split.remarks]})


def _without_excluded(data: RawData, excluded: list[str]) -> RawData:
    """Leave out classes by name, and remark on those that are called as if they were none."""
    names = as_known(excluded, data.classes)
    unknown = [name for name in names if name not in data.classes]
    if unknown:
        raise DataError(
            f"`--exclude` names unknown classes: {listed(unknown)}; the raw files have: {listed(sorted(data.classes), 40)}."
        )
    classes = {name: examples for name, examples in data.classes.items() if name not in names}
    odd = [name for name in classes if normal(name) in NO_CLASSES]
    ways_out = " ".join(f"--exclude {shlex.quote(name)}" for name in odd)
    remarks = (f"classes are called {listed(odd)}; if these are none, import again with {ways_out}.",) if odd else ()
    return replace(data, classes=classes, remarks=(*data.remarks, *remarks))


def _check_names(classes: RawClasses) -> None:
    if not classes:
        raise DataError("the raw files hold no classes; check the path and --form.")
    sources = [example.source for examples in classes.values() for example in examples]
    odd = [ascii(name) for name in [*classes, *sources] if not name.isprintable() or not name.strip()]
    if odd:
        raise DataError(f"names must be printable text (files: UTF-8), but these are not: {listed(odd)}; rename them.")
    reserved = [name for name in classes if name.endswith(HELD_OUT)]
    if reserved:
        raise DataError(
            f"names of classes may not end in `{HELD_OUT.strip()}`, but these do: {listed(reserved)}; rename them."
        )
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(normal(name), []).append(name)
    same = [" = ".join(map(ascii, group)) for group in alike.values() if len(group) > 1]
    if same:
        raise DataError(
            "class names must differ in more than case, outer spaces or Unicode form, but these do not: "
            f"{listed(same)}; merge or rename them."
        )


def _digests(classes: RawClasses, progress: ProgressCallback) -> dict[Example, bytes]:
    digests = {}
    every = [example for examples in classes.values() for example in examples]
    for index, (example, digest) in enumerate(_in_threads(lambda example: example.digest(), every)):
        digests[example] = digest
        progress("reading", index + 1, len(every))
    return digests


def _in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Map with one thread a core, in order, never more than a few dozen results ahead of the consumer."""
    workers = os.cpu_count() or 1
    iterator = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = [(item, pool.submit(function, item)) for item in islice(iterator, 16 * workers)]
        while waiting:
            item, future = waiting.pop(0)
            yield item, future.result()
            waiting += [(item, pool.submit(function, item)) for item in islice(iterator, 1)]


def drop_duplicates(
    classes: RawClasses, digests: dict[Example, bytes], *, keep_across: bool
) -> tuple[RawClasses, dict[str, int]]:
    """Return the examples to keep by class, and how many duplicates there were inside and across classes."""
    unique: RawClasses = {}
    for name, examples in classes.items():
        first: dict[bytes, Example] = {}
        for example in examples:
            first.setdefault(digests[example], example)
        unique[name] = list(first.values())
    classes_of = Counter(digests[example] for examples in unique.values() for example in examples)
    counts = {
        "duplicates inside a class": sum(len(classes[name]) - len(unique[name]) for name in classes),
        "examples in several classes": sum(1 for count in classes_of.values() if count > 1),
        "copies across classes dropped": 0 if keep_across else sum(n for n in classes_of.values() if n > 1),
    }
    if keep_across:
        return unique, counts
    return {name: [x for x in examples if classes_of[digests[x]] == 1] for name, examples in unique.items()}, counts


def _check_room(folder: Path, table_bytes: int) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    needed, free = COPIES * table_bytes + SPARE_BYTES, shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"{folder} needs {needed / 1e9:.2f} GB while it is written, but only {free / 1e9:.2f} GB are free there; free "
            "space or choose another --data-root."
        )


def _write_classes(
    writer: TableWriter,
    candidates: RawClasses,
    digests: dict[Example, bytes],
    min_examples: int,
    refused: dict[str, str],
    flat: list[str],
    progress: ProgressCallback,
) -> dict[str, int]:
    """Load class by class; a class that falls below the minimum because of refused examples is left out.

    Args:
        writer: of the table.
        candidates: examples by class.
        digests: of the examples.
        min_examples: of a class.
        refused: gets the reason by source.
        flat: gets the sources of pictures of (nearly) one colour.
        progress: called as ``progress(what, done, total)``.

    Raises:
        DataError: all pictures of a class have (nearly) one colour.
    """

    def load(example: Example) -> Any:
        try:
            return example.read()
        except RefusedExample as reason:
            return reason

    counts: dict[str, int] = {}
    total, done = sum(map(len, candidates.values())), 0
    for name, examples in candidates.items():
        usable, before = 0, len(flat)
        for example, loaded in _in_threads(load, examples):
            done += 1
            progress("writing", done, total)
            if isinstance(loaded, RefusedExample):
                refused[example.source] = str(loaded)
            else:
                usable += 1
                if loaded.dtype == np.uint8 and int(loaded.max()) - int(loaded.min()) < FLAT:
                    flat.append(example.source)
                writer.add(loaded, class_name=name, source=example.source, sha256=digests[example])
        if usable and len(flat) - before == usable:
            raise DataError(
                f"all {usable} pictures of {name} have (nearly) one colour, for instance {flat[-1]}; look at them, and remove "
                "the class or give pictures that show something."
            )
        if usable >= min_examples:
            counts[name] = usable
        elif usable:
            writer.discard_last_class()
    return counts


def _classes_by_minimum(kept: RawClasses) -> str:
    sizes = [len(examples) for examples in kept.values()]
    numbers = ", ".join(f"{least}: {sum(size >= least for size in sizes)}" for least in (1, 2, 5, 10, 16, 20, 30, 50))
    return f"Classes left by --min-examples: {numbers}."


def _nothing_left(kept: RawClasses, refused: dict[str, str], duplicates: dict[str, int], min_examples: int) -> str:
    largest = max(map(len, kept.values()), default=0)
    message = f"no class has at least {min_examples} usable examples"
    if largest >= min_examples:
        message += ": too many were refused."
    else:
        message += f" (the largest has {largest}); lower --min-examples."
    if duplicates["copies across classes dropped"]:
        number = duplicates["copies across classes dropped"]
        message += f" {number} copies that stand in several classes were dropped; --duplicates keep keeps them."
    if refused:
        first = next(iter(refused.items()))
        message += f" {len(refused)} examples were refused, for instance {first[0]}: {first[1]}."
    return message
