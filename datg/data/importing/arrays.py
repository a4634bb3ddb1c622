"""Examples that are rows of an array on the disk: pictures `(n, height, width, 3)` uint8 or cells `(n, genes)`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datg.data.importing.images import shrink
from datg.data.raw_data import RefusedExample

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class PictureRow:
    """Stand for one picture of an array.

    Attributes:
        pictures: `(n, height, width, 3)` uint8.
        source: where it comes from.
        size: side of the picture when read.
        group: what pictures of one group share.
    """

    pictures: Array
    row: int
    source: str
    size: int
    group: str = ""

    def digest(self) -> bytes:
        """Return the SHA-256 of the picture's pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.pictures[self.row]).data).digest()

    def read(self) -> Array:
        """Return the picture as `(3, size, size)` uint8, resized (Lanczos) if it has another size."""
        return shrink(Image.fromarray(np.ascontiguousarray(self.pictures[self.row])), self.size)


@dataclass(frozen=True, eq=False)
class VectorRow:
    """Stand for one row of numbers of a matrix.

    Attributes:
        matrix: `(n, d)`.
        source: where it comes from.
        group: what rows of one group share.
        refusal: why it cannot be used; "" if it can.
    """

    matrix: Array
    row: int
    source: str
    group: str = ""
    refusal: str = ""

    def digest(self) -> bytes:
        """Return the SHA-256 of the row's numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.matrix[self.row]).data).digest()

    def read(self) -> Array:
        """Return the row as `(d,)` float32."""
        if self.refusal:
            raise RefusedExample(self.refusal)
        values = np.asarray(self.matrix[self.row], dtype=np.float32)
        if not np.isfinite(values).all():
            raise RefusedExample("not a number, or too large for float32")
        return values


def open_array(path: Path) -> Array:
    """Map an ``.npy`` file; what would have to be unpickled is refused.

    Raises:
        ValueError: it holds objects, or is no ``.npy`` file.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises many things
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(array, np.ndarray):  # an archive inside the archive
        array.close()
        raise ValueError("an archive")
    return array


def picture_problem(array: Array) -> str:
    """Return what keeps ``array`` from being pictures `(n, height, width, 3)` uint8; "" if nothing."""
    if array.ndim != 4 or array.shape[3] != 3 or min(array.shape[:3]) == 0:
        return f"must have the shape (pictures, height, width, 3), got {tuple(array.shape)}"
    return "" if array.dtype == np.uint8 else f"must be uint8 (0 to 255), got {array.dtype}"
