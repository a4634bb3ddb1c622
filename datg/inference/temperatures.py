"""Where a model's temperature comes from: validation classes that are at hand, or a table that was made when they were."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from datg.data.catalog import Dataset, data_root, open_dataset
from datg.data.episodes import DeviceTable
from datg.data.splits import ALL_BASE_EXAMPLES, Split
from datg.errors import DataError
from datg.inference.calibration import LEAST_QUERIES, Temperature, describe_counts, fit_temperature, tables_for
from datg.inference.model import Calibration, FewShotModel

WAYS, SHOTS = (2, 5, 10, 20), (1, 2, 5, 10, 20)  # of the tasks in a table
Progress = Callable[[int, int], None]


def on_validation(root: Path | None, progress: Progress = lambda done, total: None) -> Calibration:
    """Return a calibration that fits a temperature for each support set, if the model's data set is at hand below ``root``."""
    fitted: dict[tuple[tuple[int, ...], ...], Temperature] = {}  # by networks and numbers of examples

    def find(model: FewShotModel, counts: list[int]) -> Temperature:
        key = tuple(map(id, model.networks)), tuple(sorted(counts))
        if key not in fitted:
            dataset = validation_of(model, root)
            if isinstance(dataset, str):
                return Temperature(remark=dataset)
            tables = tables_for(model.learners, dataset.part("validation"), model.device)
            fitted[key] = _fit(model, tables, counts, progress)
        return fitted[key]

    return find


def validation_of(model: FewShotModel, root: Path | None) -> Dataset | str:
    """Return the data set that a model was trained on, with its split, or why its validation classes cannot be used."""
    info, config = model.networks[0].info, model.config
    if str(info.get("split", {}).get("protocol", "")).endswith(ALL_BASE_EXAMPLES):
        return "the model was trained on its validation examples"
    try:
        dataset = open_dataset(config.dataset, data_root(root))
    except DataError as error:
        return f"a temperature is fitted on validation classes of {config.dataset}, but {error}"
    if dataset.table.fingerprint != info["fingerprint"]:
        return f"data set {config.dataset} holds other examples by now than it was trained on"
    return replace(dataset, split=Split.model_validate(info["split"])) if "split" in info else dataset


def _fit(model: FewShotModel, tables: Sequence[DeviceTable], counts: Sequence[int], progress: Progress) -> Temperature:
    config = model.config
    return fit_temperature(
        model.learners,
        tables,
        counts,
        queries=config.task.queries,
        seed=config.evaluation.seed,
        progress=progress,
    )


def tabulate(
    model: FewShotModel, root: Path | None, progress: Progress = lambda done, total: None
) -> list[dict[str, Any]]:
    """Return temperatures for tasks of usual shapes, as plain values for :func:`from_table`; none where there are no data."""
    dataset = validation_of(model, root)
    if isinstance(dataset, str):
        return []
    validation, fixed = dataset.part("validation"), model.learners[0].ways
    tables = tables_for(model.learners, validation, model.device)
    most = int(validation.counts.min()) - LEAST_QUERIES
    ways = [fixed] if fixed is not None else [number for number in WAYS if number <= len(validation)]
    shots = [number for number in SHOTS if number <= most] or [1]
    shapes = list(product(ways, shots))
    table = []
    for index, (number, examples) in enumerate(shapes):
        table.append(asdict(_fit(model, tables, [examples] * number, lambda done, total: None)))
        progress(index + 1, len(shapes))
    return table


def from_table(table: Sequence[dict[str, Any]]) -> Calibration:
    """Return a calibration that looks up the temperature of the shape that is nearest by factors of ways and shots."""
    known = [Temperature(**{**entry, "counts": tuple(entry["counts"])}) for entry in table]

    def find(model: FewShotModel, counts: list[int]) -> Temperature:
        if not known:
            return Temperature(remark="the model was saved without any temperature")
        nearest = min(known, key=lambda entry: _distance(entry.counts, counts))
        if _distance(nearest.counts, counts) == 0:
            return nearest
        return replace(nearest, remark=f"the shape saved with the model that is nearest to {describe_counts(counts)}")

    return find


def _distance(one: Sequence[int], other: Sequence[int]) -> float:
    """Return by what factors, as logarithms, two task shapes differ."""
    shots = [math.log(sum(counts) / len(counts)) for counts in (one, other)]
    return abs(math.log(len(one) / len(other))) + abs(shots[0] - shots[1])
