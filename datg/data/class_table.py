"""The class table: examples grouped by class in one Arrow file that is memory-mapped without a copy.

On disk a data set is a folder with two files: ``<fingerprint>.arrow`` (one uncompressed record batch with the
columns ``example``, ``class``, ``source`` and ``sha256``) and ``table.json``, which names it and says what it
holds. The JSON is renamed into place last: a folder without it holds no data set.
"""

import hashlib
import json
import os
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datg.errors import DataError
from datg.storage.files import replacing, write_json

DESCRIPTION = "table.json"


@dataclass(frozen=True)
class ClassTable:
    """Hold examples grouped by class.

    Attributes:
        examples: `(n, *shape)` examples of *all* classes of the data set, uint8 images with channels first
            or float32 cells; read-only, shared by every selection.
        names: the classes of this selection.
        starts: `(n_classes,)` the row where each class begins.
        counts: `(n_classes,)` how many examples it has.
        fingerprint: SHA-256 of names, counts, shape, dtype and all examples of the data set.
        description: what ``table.json`` says.
        digests: `(n, 32)` uint8, SHA-256 of what the raw files held for each example; None if it was not read from a file.
    """

    examples: npt.NDArray[Any]
    names: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    fingerprint: str
    description: dict[str, Any] = field(default_factory=dict, compare=False)
    digests: npt.NDArray[np.uint8] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.examples.shape[1:])

    @property
    def preparation(self) -> dict[str, Any]:
        """Return what new examples need, to be prepared like these; see :class:`~datg.data.preparation.Preparation`."""
        return dict(self.description.get("preparation", {}))

    @property
    def sizes(self) -> dict[str, int]:
        """Return how many examples each class has."""
        return dict(zip(self.names, self.counts.tolist(), strict=True))

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.names)

    def digests_of_class(self, index: int) -> set[bytes]:
        """Return the SHA-256 of the raw form of every example of a class."""
        if self.digests is None:
            return set()
        return {digest.tobytes() for digest in self.digests[self.rows_of_class(index)]}

    def rows_of_class(self, index: int, most: int | None = None) -> npt.NDArray[np.int64]:
        """Return the `(n,)` rows of a class; with ``most`` at most that many, evenly spread over it."""
        count = int(self.counts[index])
        places = np.arange(count) if most is None or most >= count else np.linspace(0, count - 1, most).astype(np.int64)
        return self.starts[index] + places

    def size_histogram(self) -> list[tuple[int, int, int]]:
        """Return class sizes in doubling bins: smallest, largest, number of classes; empty bins are left out."""
        bins = np.floor(np.log2(self.counts)).astype(int)
        return [(2 ** int(b), 2 ** (int(b) + 1) - 1, int((bins == b).sum())) for b in np.unique(bins)]

    def select(self, names: list[str]) -> "ClassTable":
        """Return the classes called ``names``, in that order, on the same examples.

        Raises:
            DataError: a name is not in the table.
        """
        position = {name: index for index, name in enumerate(self.names)}
        missing = [name for name in names if name not in position]
        if missing:
            raise DataError(f"the class table lacks {len(missing)} classes of the split: {', '.join(missing)}.")
        chosen = [position[name] for name in names]
        return replace(self, names=tuple(names), starts=self.starts[chosen], counts=self.counts[chosen])


def open_table(folder: Path) -> ClassTable:
    """Map the class table in ``folder``; costs no memory until examples are touched.

    Raises:
        DataError: the folder holds no table, or its files do not fit each other.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        path = folder / description["file"]
        with pa.memory_map(str(path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
        column = batch.column("example")
        shape, dtype = tuple(description["shape"]), np.dtype(description["dtype"])
        examples = np.frombuffer(column.buffers()[1], dtype=dtype).reshape(len(column), *shape)
        digests = np.frombuffer(batch.column("sha256").buffers()[1], dtype=np.uint8).reshape(len(column), -1)
        classes = description["classes"]
        counts = np.array(list(classes.values()), dtype=np.int64)
        if counts.sum() != len(examples):
            raise ValueError(f"{len(examples)} examples, but the classes count {counts.sum()}")
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no imported data set ({error.filename} is missing); import it again."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"the class table in {folder} is damaged ({error}); import it again.") from error
    return ClassTable(
        examples=examples,
        names=tuple(classes),
        starts=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        counts=counts,
        fingerprint=description["fingerprint"],
        description=description,
        digests=digests,
    )


class TableWriter:
    """Write a class table with flat memory: examples go to disk as they come, class by class.

    Used as a context manager; :meth:`finish` makes the table appear, leaving without it removes every trace.
    """

    def __init__(self, folder: Path, *, shape: tuple[int, ...], dtype: str) -> None:
        """Prepare to write examples of ``shape`` and ``dtype`` into ``folder``."""
        self.folder, self.shape, self.dtype = folder, shape, np.dtype(dtype)
        self._example_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self._classes: dict[str, int] = {}
        self._sources: list[str] = []
        self._hashes: list[bytes] = []

    def __enter__(self) -> Self:
        self._made_folder = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_over in self.folder.glob(".*.*"):  # by a writer that was killed
            left_over.unlink()
        self._raw_path = self.folder / f".examples.{uuid.uuid4().hex[:8]}"
        self._raw = self._raw_path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()
        self._raw_path.unlink(missing_ok=True)
        if self._made_folder and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def add(self, example: npt.NDArray[Any], *, class_name: str, source: str, sha256: bytes) -> None:
        """Append one example `(*shape)`; the examples of a class must come one after another."""
        assert example.shape == self.shape and example.dtype == self.dtype, (example.shape, example.dtype)
        assert class_name not in self._classes or class_name == next(reversed(self._classes)), class_name
        self._raw.write(np.ascontiguousarray(example).tobytes())
        self._classes[class_name] = self._classes.get(class_name, 0) + 1
        self._sources.append(source)
        self._hashes.append(sha256)

    def discard_last_class(self) -> None:
        """Take the class added last out again (it turned out to be too small)."""
        _, count = self._classes.popitem()
        del self._sources[-count:], self._hashes[-count:]
        self._raw.seek(-count * self._example_bytes, os.SEEK_CUR)
        self._raw.truncate()

    def finish(self, description: dict[str, Any]) -> ClassTable:
        """Write the Arrow file, then ``table.json`` with ``description`` added, and open the table."""
        self._raw.flush()
        header = [list(self.shape), str(self.dtype), self._classes]
        digest = hashlib.sha256(json.dumps(header, ensure_ascii=False).encode())
        with self._raw_path.open("rb") as raw:
            while chunk := raw.read(1 << 20):
                digest.update(chunk)
        fingerprint = digest.hexdigest()
        path = self.folder / f"{fingerprint[:16]}.arrow"
        self._write_arrow(path)
        write_json(
            self.folder / DESCRIPTION,
            {
                "file": path.name,
                "fingerprint": fingerprint,
                "shape": list(self.shape),
                "dtype": str(self.dtype),
                **description,
                "classes": self._classes,
            },
        )
        for other in self.folder.glob("*.arrow"):
            if other != path:
                other.unlink()
        return open_table(self.folder)

    def _write_arrow(self, path: Path) -> None:
        count = len(self._sources)
        labels = np.repeat(np.arange(len(self._classes), dtype=np.int32), list(self._classes.values()))
        # The raw file is mapped, not read: Arrow copies it page by page into the one record batch.
        with replacing(path) as temporary, pa.memory_map(str(self._raw_path)) as raw:
            batch = pa.record_batch(
                {
                    "example": pa.FixedSizeBinaryArray.from_buffers(
                        pa.binary(self._example_bytes), count, [None, raw.read_buffer()]
                    ),
                    "class": pa.DictionaryArray.from_arrays(labels, list(self._classes)),
                    "source": pa.array(self._sources, pa.string()),
                    "sha256": pa.array(self._hashes, pa.binary(32)),
                }
            )
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
                writer.write_batch(batch)
