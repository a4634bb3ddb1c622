"""Trials and data sets in MLflow's terms; mlflow is imported late, because that takes seconds."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from datg.data.catalog import Dataset
from datg.records import TrialRecord
from datg.trial import Progress

if TYPE_CHECKING:
    from mlflow.entities import Metric

TEST_POINTS = 3  # of a final evaluation


def dataset_inputs(dataset: Dataset) -> list[Any]:
    """The three class tables of a data set, each with a digest of its classes and examples."""
    from mlflow.entities import Dataset as Input
    from mlflow.entities import DatasetInput, InputTag

    inputs = []
    for part in ("base", "validation", "novel"):
        table = dataset.part(part)
        digest = hashlib.sha256(json.dumps([table.fingerprint, table.sizes]).encode()).hexdigest()[:32]
        profile = {"classes": len(table), "examples": int(table.counts.sum())}
        source = Input(
            name=f"{dataset.owner(part).name}-{part}",
            digest=digest,
            source_type="local",
            source=json.dumps({"uri": f"{dataset.owner(part).name}/{table.description.get('file', '')}"}),
            profile=json.dumps(profile),
        )
        inputs.append(DatasetInput(source, [InputTag("mlflow.data.context", part)]))
    return inputs


def progress_metrics(entry: Progress) -> list["Metric"]:
    """One validation as points with its own time and step."""
    from mlflow.entities import Metric

    return [Metric(key, value, int(entry.time * 1000), entry.iteration) for key, value in _values(entry).items()]


def points_in(record: TrialRecord, validations: int | None = None) -> int:
    """How many metric points a trial has, or its first ``validations`` validations alone."""
    points = sum(len(_values(entry)) for entry in record.progress[:validations])
    return points + (TEST_POINTS if validations is None and record.test is not None else 0)


def _values(entry: Progress) -> dict[str, float]:
    values = {f"train/{name}": value for name, value in entry.losses.items()}
    return values | {"val/accuracy": entry.accuracy, "val/ci95": entry.ci95, "objective": entry.objective}


def test_metrics(record: TrialRecord) -> list["Metric"]:
    """The final evaluation, at the step of the best weights."""
    from mlflow.entities import Metric

    test = record.test
    if test is None or record.last is None:
        return []
    values = {"test/accuracy": test.accuracy, "test/ci95": test.ci95, "test/episodes": float(test.episodes)}
    return [Metric(key, value, int(test.time * 1000), record.last.best_iteration) for key, value in values.items()]
