"""The matrix of an AnnData file, read in rows and checked before anything is computed with it.

Sparse matrices are read with h5py and not by anndata, because indices that lie outside the matrix end its process.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from datg.errors import DataError

ROWS_AT_ONCE = 2000
VALUES_AT_ONCE = 1 << 24  # of a dense matrix: 64 MiB of float32
Chunk = tuple[sparse.csr_matrix, int, int]


def read_rows(path: Path, shape: tuple[int, int], place: str = "X") -> Iterator[Chunk]:
    """Return a matrix of ``path`` as sparse rows, each with the first row and the one after the last.

    Args:
        path: of the file.
        shape: cells and genes that it must have.
        place: of the matrix inside the file.

    Raises:
        DataError: there is no such matrix, or its parts do not fit each other.
    """
    import h5py

    with h5py.File(path) as file:
        matrix = file.get(place)
        if matrix is None:
            raise DataError(
                f"{path} has no matrix {place}; say with --counts where the counts are: X, raw or layer:NAME."
            )
        if isinstance(matrix, h5py.Dataset):
            yield from _dense(matrix, path, shape, place)
            return
        kind = str(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "")))
        parts = [matrix.get(name) for name in ("data", "indices", "indptr")]
        if not kind.startswith(("csr", "csc")) or any(not isinstance(part, h5py.Dataset) for part in parts):
            raise DataError(
                f"{path} has a matrix {place} of an unknown kind ({kind or 'none'}); save it as csr, csc or dense."
            )
        yield from _sparse(parts, path, shape, place, by_row=kind.startswith("csr"))


def _dense(matrix: Any, path: Path, shape: tuple[int, int], place: str) -> Iterator[Chunk]:
    if matrix.shape != shape or matrix.dtype.kind not in "iufb":
        raise DataError(f"{path} must have a matrix {place} of numbers {shape}, got {matrix.dtype} {matrix.shape}.")
    step = max(1, min(ROWS_AT_ONCE, VALUES_AT_ONCE // shape[1]))
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        yield sparse.csr_matrix(matrix[start:stop]), start, stop


def _sparse(parts: list[Any], path: Path, shape: tuple[int, int], place: str, *, by_row: bool) -> Iterator[Chunk]:
    data, indices, pointers = parts
    major, minor = shape if by_row else shape[::-1]
    ends = np.asarray(pointers[:]).astype(np.int64)
    fits = len(ends) == major + 1 and ends[0] == 0 and ends[-1] == len(data) == len(indices)
    if not fits or (np.diff(ends) < 0).any() or data.dtype.kind not in "iufb" or indices.dtype.kind not in "iu":
        raise DataError(
            f"{path} has a sparse matrix {place} whose parts do not fit {shape[0]} cells x {shape[1]} genes."
        )
    step = ROWS_AT_ONCE if by_row else major
    for start in range(0, major, step):
        stop = min(start + step, major)
        inside = slice(int(ends[start]), int(ends[stop]))
        places: npt.NDArray[Any] = indices[inside]
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < minor:
            raise DataError(
                f"{path} has a sparse matrix {place} with values outside its {shape[0]} cells x {shape[1]} genes."
            )
        block = (data[inside], places, ends[start : stop + 1] - ends[start])
        if by_row:
            yield sparse.csr_matrix(block, shape=(stop - start, minor)), start, stop
        else:
            yield sparse.csc_matrix(block, shape=shape).tocsr(), 0, shape[0]
