"""What an importer reads: classes of examples that are not loaded yet, whatever the form of the raw files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from datg.data.import_settings import ImportSettings
from datg.data.preparation import Preparation
from datg.runtime.progress import ProgressCallback


class RefusedExample(Exception):
    """Refuse one example that cannot be used; the message is the reason. The others are kept."""


class Example(Protocol):
    """Stand for one example that is not loaded yet.

    Attributes:
        source: where it comes from, unique in the data set.
        group: what it shares with others that must stay on the same side of a split (a lesion, a tissue); "" if nothing.
    """

    source: str
    group: str

    def digest(self) -> bytes:
        """Return the SHA-256 of what is stored in the raw files: equal for exact duplicates."""

    def read(self) -> npt.NDArray[Any]:
        """Return the example in the shape and dtype of the table.

        Raises:
            RefusedExample: it cannot be used.
        """


RawClasses = dict[str, list[Example]]


@dataclass(frozen=True)
class RawData:
    """Hold everything found in the raw files.

    Attributes:
        shape: of every example.
        dtype: uint8 pictures or float32 cells.
        parts: base, validation or novel by class, where the raw form says so.
        in_file_order: whether classes have no names of their own but are numbered by their place in a file.
        remarks: what the user should know.
        preparation: what later examples need, to be prepared in the same way.
    """

    classes: dict[str, list[Any]]
    shape: tuple[int, ...]
    dtype: str = "uint8"
    parts: dict[str, str] = field(default_factory=dict)
    in_file_order: bool = False
    remarks: tuple[str, ...] = ()
    preparation: Preparation = field(default_factory=Preparation)


@dataclass(frozen=True)
class Workplace:
    """Hold what an importer may use.

    Attributes:
        folder: for intermediate files; removed when the import ends.
        notify: tells the user something at once, such as how much memory the next step needs.
        progress: called as ``progress(what, done, total)``.
    """

    folder: Path
    notify: Callable[[str], None]
    progress: ProgressCallback


class Form(Protocol):
    """Describe a module that reads one raw form."""

    FORM: str

    def recognise(self, raw: Path) -> bool:
        """Return whether ``raw`` looks like this form; reads names, at most the first bytes."""

    def read(self, raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
        """Find all classes and examples of ``raw``.

        Raises:
            DataError: naming every offender.
        """


def listed(names: list[str], limit: int = 12) -> str:
    """Return names for a message: all of a few, the first of many with their number."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
