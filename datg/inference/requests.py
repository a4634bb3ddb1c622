"""A request to a served model: a table whose rows with a label are the support set, and whose other rows are queries.

A picture comes as the bytes of its file in base64, or as an array `(height, width, 3)`; a cell as its numbers. What a request
says is never taken for a path.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datg.data.importing.grey_levels import own_white
from datg.data.importing.images import decode_image
from datg.data.raw_data import RefusedExample
from datg.errors import DataError
from datg.inference.arrays import as_examples
from datg.inference.model import FewShotModel

if TYPE_CHECKING:
    import pandas as pd

PICTURE, ARRAY, VALUES, LABEL = "picture", "array", "values", "label"


def answer(model: FewShotModel, request: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return for each row without a label: label, probability, and the probabilities of all classes.

    Args:
        model: with the support set that is used where no row has a label.
        request: columns ``label`` and, of pictures, ``picture`` or ``array``, of cells ``values``.

    Raises:
        DataError: a row that cannot be read, naming it; no query; or no support set.
        ConfigError: the number of classes is not the one that the learner was trained for.
    """
    rows = request.to_dict("records")
    labels = ["" if _is_absent(row.get(LABEL)) else str(row[LABEL]).strip() for row in rows]
    examples = [_example(model, row, number) for number, row in enumerate(rows, 1)]
    support: dict[str, list[npt.NDArray[Any]]] = {}
    for label, example in zip(labels, examples, strict=True):
        if label:
            support.setdefault(label, []).append(example)
    prepared = {name: np.stack(values) for name, values in support.items()} or model.support
    if prepared is None:
        raise DataError(f"the request has no support set: give each class a row with a `{LABEL}`.")
    queries = [example for label, example in zip(labels, examples, strict=True) if not label]
    if not queries:
        raise DataError(f"the request has no query: a row without a `{LABEL}`.")
    told = model.classify_prepared(prepared, np.stack(queries))
    return [
        {
            "label": label,
            "probability": float(row.max()),
            "probabilities": dict(zip(told.classes, row.tolist(), strict=True)),
        }
        for label, row in zip(told.labels, told.probabilities.astype(np.float64), strict=True)
    ]


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and np.isnan(value))


def _example(model: FewShotModel, row: dict[str, Any], number: int) -> npt.NDArray[Any]:
    """Return the example in a row, `(*shape)`."""
    where = f"row {number} of the request"
    columns = (PICTURE, ARRAY) if len(model.shape) == 3 else (VALUES,)
    given = [column for column in columns if not _is_absent(row.get(column))]
    if len(given) != 1:
        raise DataError(f"{where} must have one of {', '.join(columns)}, got {', '.join(given) or 'none'}.")
    value = row[given[0]]
    if given[0] == PICTURE:
        return _decoded(value, model, where)
    numbers = _numbers(value, where)
    if given[0] == ARRAY:
        if numbers.min() < 0 or numbers.max() > 255 or (numbers != np.floor(numbers)).any():
            raise DataError(f"{where}: `{ARRAY}` must hold whole numbers from 0 to 255.")
        numbers = numbers.astype(np.uint8)
    example: npt.NDArray[Any] = as_examples(numbers[None], model.shape, where)[0]
    return example


def _numbers(value: Any, where: str) -> npt.NDArray[Any]:
    try:
        numbers = np.array(_as_lists(value), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} must hold an array of numbers ({error}).") from None
    if numbers.size == 0:
        raise DataError(f"{where} must hold numbers, got none.")
    return numbers


def _as_lists(value: Any) -> Any:
    """Return nested lists of what MLflow makes nested arrays of arrays of."""
    return [_as_lists(inner) for inner in value] if isinstance(value, list | tuple | np.ndarray) else value


def _decoded(text: Any, model: FewShotModel, where: str) -> npt.NDArray[Any]:
    try:
        content = base64.b64decode(str(text), validate=True)
        white = own_white(io.BytesIO(content)) or model.preparation.white
        return decode_image(io.BytesIO(content), size=model.shape[1], white=white)
    except ValueError:
        raise DataError(f"{where}: `{PICTURE}` must be the bytes of a picture's file in base64, not a path.") from None
    except RefusedExample as reason:
        raise DataError(f"{where}: `{PICTURE}` cannot be used: {reason}.") from None
