"""Data sets by name: how an imported or built-in one is opened."""

import difflib
import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datg.data import glyphs, search_spaces
from datg.data.class_table import ClassTable, open_table
from datg.data.splits import ALL_BASE_EXAMPLES, HELD_OUT, Split
from datg.errors import ConfigError, DataError
from datg.runtime.called import command
from datg.storage.files import read_yaml
from datg.storage.locks import OptionalLock

ORDER_SEED = 0  # of the order that smaller sets of base classes are the beginning of
BUILT_IN = {"glyphs": glyphs}  # each with what draws it (`write`), and by which options


@dataclass(frozen=True)
class Dataset:
    """Hold a class table with its split.

    Attributes:
        split: which of them are base, validation and novel.
        tested_on: another data set whose novel classes are tested on instead of the own ones (cross-domain).
    """

    name: str
    table: ClassTable
    split: Split
    tested_on: "Dataset | None" = None

    def owner(self, part: str) -> "Dataset":
        """Return the data set whose classes make up ``part``."""
        return self.tested_on if part == "novel" and self.tested_on is not None else self

    def part(self, name: str) -> ClassTable:
        """Return the classes of part ``name``: base, validation or novel."""
        owner = self.owner(name)
        return owner.table.select(owner.split.part(name))

    def with_base_classes(self, number: int | None) -> "Dataset":
        """Return the data set with ``number`` of its base classes: the first in a random order that never changes, so that
        smaller sets lie in larger ones. Validation and novel classes stay; None changes nothing.

        Raises:
            ConfigError: it has not so many.
        """
        base = self.split.base
        if number is None or number == len(base):
            return self
        if number > len(base):
            raise ConfigError(f"`base_classes` must be at most {len(base)}, as many as {self.name} has, got {number}.")
        order = np.random.Generator(np.random.PCG64(ORDER_SEED)).permutation(len(base))
        chosen = [base[index] for index in sorted(order[:number])]
        protocol = f"{self.split.protocol}, {number} of {len(base)} base classes"
        return replace(self, split=self.split.model_copy(update={"protocol": protocol, "base": chosen}))

    def with_held_out(self) -> "Dataset":
        """Return the data set with its held-out examples given back to their base classes, for a last training on everything.

        Validation keeps them, too: from now on it tells nothing.

        Raises:
            DataError: no examples are held out.
        """
        position = {name: index for index, name in enumerate(self.table.names)}
        counts = self.table.counts.copy()
        held_out = {name + HELD_OUT for name in self.split.base}
        if held_out < set(self.split.validation):
            raise DataError(
                f"held-out examples of {self.name} are given back to all of its base classes; leave `base_classes` out."
            )
        if held_out != set(self.split.validation):
            raise DataError(
                f"data set {self.name} does not hold out examples of each of its base classes (protocol {self.split.protocol}); "
                "name one that was imported with --protocol hold-out, for instance with --set dataset=NAME."
            )
        for name in self.split.base:
            assert position[name + HELD_OUT] == position[name] + 1, "a class of held-out examples follows its class"
            counts[position[name]] += counts[position[name] + 1]
        split = self.split.model_copy(update={"protocol": self.split.protocol + ALL_BASE_EXAMPLES})
        return replace(self, table=replace(self.table, counts=counts), split=split)


def data_root(path: Path | None = None, *, saved: str | None = None) -> Path:
    """Return where data sets live: ``path``, else ``saved``, else ``$DATG_DATA``, else ``./data``; always absolute.

    Args:
        path: what the user says now.
        saved: where they were found before, which counts as long as it is there: a project's folder may have been moved.
    """
    if path is None and saved is not None and Path(saved).is_dir():
        return Path(saved)
    return Path(path or os.environ.get("DATG_DATA") or "data").absolute()


def data_root_flag(root: str | Path) -> list[str | Path]:
    """Return what a printed command needs to find data sets in ``root``: nothing where they are looked for anyway."""
    place, here = Path(root).absolute(), Path.cwd()
    named = place.relative_to(here) if place.is_relative_to(here) else place  # a project's folder may be moved
    return [] if place == data_root() else ["--data-root", named]


def open_dataset(name: str, root: Path) -> Dataset:
    """Open the data set ``name`` below ``root``; a built-in one is made first if need be.

    Raises:
        DataError: it is not there (the message lists the known ones and how to import) or damaged.
    """
    folder = root / name
    if name in BUILT_IN and not (folder / "table.json").exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{folder} cannot be written ({error.strerror}); give --data-root a writable folder."
            ) from error
        with OptionalLock(folder / ".lock"):
            if not (folder / "table.json").exists():
                BUILT_IN[name].write(folder)
    elif not (folder / "table.json").exists():
        raise DataError(_how_to_get(name, root))
    table = open_table(folder)
    if name in BUILT_IN and table.description.get("options") != BUILT_IN[name].OPTIONS:
        raise DataError(
            f"{folder} was drawn by another version of this package; searches that were begun with it need that version. Rename "
            f"it, and it is drawn anew: mv {shlex.quote(str(folder))} {shlex.quote(f'{folder}-old')}"
        )
    try:
        split = Split.model_validate(table.description["split"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{folder / 'table.json'} holds no valid split; import the data set again.") from error
    return Dataset(name, table, split)


def _how_to_get(name: str, root: Path) -> str:
    """Return that a data set is missing, what there is, and how one comes by it."""
    imported = (path.parent.name for path in root.glob("*/table.json"))
    names = list(dict.fromkeys([*BUILT_IN, *sorted(imported)]))
    way = command("import_data", name, "RAW_FILES")
    spaces = {path.stem: path for path in search_spaces().glob("*.yaml")}
    raw = read_yaml(spaces[name]).get("raw") if name in spaces else None
    if raw is None:
        near = difflib.get_close_matches(
            name, [known for known in (*names, *spaces) if not known.startswith("generic_")], 1
        )
        meant = f". Did you mean {near[0]}?" if near else "."
        return (
            f"data set `{name}` is not in {root}; known: {', '.join(names)}{meant} One of your own (class folders, .npz, "
            f".h5ad) is imported first: {way}"
        )
    return (
        f"data set `{name}` is not in {root}. Its files come from {raw['from']}; import them (forms: {raw['forms']}): {way}\n"
        f"At hand without any files: {', '.join(names)}."
    )


def with_test_dataset(dataset: Dataset, name: str | None, root: Path) -> Dataset:
    """Return ``dataset``, tested on the novel classes of data set ``name``; None and its own name change nothing.

    Raises:
        DataError: that data set is not there.
        ConfigError: its examples have another shape or dtype, or its novel classes hold base or validation examples of
            ``dataset``.
    """
    if name in (None, dataset.name):
        return dataset
    other = open_dataset(str(name), root)
    table, other_table = dataset.table, other.table
    if (table.shape, table.examples.dtype) != (other_table.shape, other_table.examples.dtype):
        raise ConfigError(
            f"`evaluation.test_dataset` must have examples like those of {dataset.name}, "
            f"{table.examples.dtype} {list(table.shape)}, "
            f"but {name} has {other_table.examples.dtype} {list(other_table.shape)}; import it with the same --image-size."
        )
    novel = other.part("novel")
    for part in ("base", "validation"):
        seen = dataset.part(part)
        digests = set().union(*(seen.digests_of_class(index) for index in range(len(seen))))
        shared = [name for index, name in enumerate(novel.names) if novel.digests_of_class(index) & digests]
        if shared:
            raise ConfigError(
                f"`evaluation.test_dataset` must be new to a network trained on {dataset.name}, but novel classes of {name} hold "
                f"{part} examples of it: {', '.join(shared)}; import it with a split that keeps them apart."
            )
    return replace(dataset, tested_on=other)
