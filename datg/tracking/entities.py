"""Trials and data sets in MLflow's terms; mlflow is imported late, because that takes seconds."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from datg.data.catalog import Dataset
from datg.tracking.sent import metric_values
from datg.trial.folder import ValidationReport
from datg.trial.records import Score, TrialRecord
from datg.trial.selection import Gain

if TYPE_CHECKING:
    from mlflow.entities import Metric

EXACT_FROM = 1000  # counts keep all of their digits


def rounded(value: float) -> float:
    """Return a number with four significant digits, which is what it means; the exact ones stand in the trials' folders."""
    return float(f"{value:.4g}") if abs(value) < EXACT_FROM else value


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

    at = int(entry.time * 1000)
    return [Metric(key, rounded(value), at, entry.iteration) for key, value in metric_values(entry).items()]


def test_metrics(record: TrialRecord) -> list["Metric"]:
    """Return the final evaluation, at the step of the best weights."""
    return _score_metrics("test", record.test, record)


def fresh_validation_metrics(record: TrialRecord) -> list["Metric"]:
    """Return the score on fresh validation tasks, at the step of the best weights."""
    return _score_metrics("fresh_val", record.fresh_validation, record)


def best_metrics(best: TrialRecord) -> list["Metric"]:
    """Return what the run above the trials shows of the best: its validation, also on fresh tasks, and its final evaluation."""
    from mlflow.entities import Metric

    if best.last is None:
        return []
    scores = {"val": best.objective, "fresh_val": best.fresh_validation, "test": best.test}
    values = {name: score if isinstance(score, float) else score.accuracy for name, score in scores.items() if score}
    return [Metric(f"best/{name}", rounded(value), int(best.last.time * 1000), 0) for name, value in values.items()]


def gain_metrics(gained: Gain) -> list["Metric"]:
    """Return how far the best is ahead of a reference, paired by task, with the half-width of the 95 % interval."""
    from mlflow.entities import Metric

    values: dict[str, float | None] = {}
    for part, mean in {"val": gained.validation, "test": gained.novel}.items():
        if mean is not None:
            values |= {part: mean.value, f"{part}_ci95": mean.ci95}
    return [
        Metric(f"gain_over_{gained.over}/{name}", rounded(value), int(gained.time * 1000), 0)
        for name, value in values.items()
        if value is not None
    ]


def _score_metrics(name: str, score: Score | None, record: TrialRecord) -> list["Metric"]:
    from mlflow.entities import Metric

    if score is None or record.last is None:
        return []
    values = {f"{name}/accuracy": score.accuracy, f"{name}/ci95": score.ci95}
    at, step = int(score.time * 1000), record.last.best_iteration
    return [Metric(key, rounded(value), at, step) for key, value in values.items()]
