"""Trials and data sets in MLflow's terms; mlflow is imported late, because that takes seconds."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from datg.data.catalog import Dataset
from datg.tracking.sent import metric_values
from datg.trial.folder import ValidationReport
from datg.trial.records import TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Metric


def dataset_inputs(dataset: Dataset) -> list[Any]:
    """Return the three class tables of a data set, each with a digest of its classes and examples."""
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


def report_metrics(entry: ValidationReport) -> list["Metric"]:
    """Return one validation as points with its own time and step."""
    from mlflow.entities import Metric

    return [Metric(key, value, int(entry.time * 1000), entry.iteration) for key, value in metric_values(entry).items()]


def test_metrics(record: TrialRecord) -> list["Metric"]:
    """Return the final evaluation, at the step of the best weights."""
    from mlflow.entities import Metric

    test = record.test
    if test is None or record.last is None:
        return []
    values = {"test/accuracy": test.accuracy, "test/ci95": test.ci95, "test/episodes": float(test.episodes)}
    return [Metric(key, value, int(test.time * 1000), record.last.best_iteration) for key, value in values.items()]
