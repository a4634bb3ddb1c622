"""Examples that a user gives as arrays, turned into what a data set holds."""

from typing import Any

import numpy as np
import numpy.typing as npt

from datg.data.importing.arrays import PictureRow
from datg.errors import DataError


def as_examples(values: Any, shape: tuple[int, ...], what: str) -> npt.NDArray[Any]:
    """Return `(n, *shape)` examples, uint8 pictures or float32 cells.

    Args:
        values: pictures uint8 `(n, height, width, 3)`, which are resized, or `(n, *shape)`; cells `(n, genes)`; or lists.
        shape: of an example of the model.
        what: they are called in a message.

    Raises:
        DataError: they are of another kind.
    """
    if len(shape) == 1:
        return _as_cells(np.asarray(values), shape, what)
    pictures = [np.asarray(picture) for picture in values]
    wrong = {f"{picture.dtype} {picture.shape}" for picture in pictures if not _is_picture(picture, shape)}
    if wrong:
        raise DataError(
            f"{what} must be pictures of uint8 (0 to 255) with the shape (height, width, 3) or {shape}, got "
            f"{', '.join(sorted(wrong))}."
        )
    prepared = [
        picture if picture.shape == shape else PictureRow(picture[None], 0, what, shape[1]).read()
        for picture in pictures
    ]
    return np.stack(prepared) if prepared else np.empty((0, *shape), dtype=np.uint8)


def _is_picture(picture: npt.NDArray[Any], shape: tuple[int, ...]) -> bool:
    coloured = picture.ndim == 3 and picture.shape[2] == 3 and min(picture.shape) > 0
    return picture.dtype == np.uint8 and (picture.shape == shape or coloured)


def _as_cells(values: npt.NDArray[Any], shape: tuple[int, ...], what: str) -> npt.NDArray[np.float32]:
    if len(values) == 0:
        return np.empty((0, *shape), dtype=np.float32)
    if values.ndim != 2 or values.shape[1:] != shape or values.dtype.kind not in "iuf":
        raise DataError(f"{what} must be numbers of the shape (n, {shape[0]}), got {values.dtype} {values.shape}.")
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise DataError(f"{what} must be finite numbers, but some are NaN or infinite.")
    return numbers
