"""Sends a trial to its MLflow run. Points carry their own time and step, so that sending one twice stores it once."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datg.data.catalog import Dataset
from datg.tracking.artifacts import draw_learning_curve
from datg.tracking.entities import dataset_inputs, report_metrics, rounded, test_metrics
from datg.trial.folder import BEST, CLUSTERS, CONFIG
from datg.trial.records import DONE, FAILED, PRUNED, RUNNING, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS_AT_ONCE = 1000  # MLflow's own limit for one batch
# MLflow draws KILLED like FAILED, and a pruned trial is neither; its tag `outcome` tells it from one that ran to its end.
RUN_STATUS = {RUNNING: "RUNNING", DONE: "FINISHED", PRUNED: "FINISHED", FAILED: "FAILED"}
# MLflow's pages hide tags that begin so; what is only for us stands in no column.
COMPLETE_TAG, PREPARED_TAG = "mlflow.datg.complete", "mlflow.datg.prepared"
OUTCOME_TAG, ERROR_TAG = "outcome", "error"


@dataclass
class ChildRun:
    """Hold what MLflow has of a trial.

    Attributes:
        points: how many of its validations have been sent.
        complete: whether nothing more will come.
        outcome: that it shows; empty for one that runs.
    """

    run_id: str
    points: int = 0
    complete: bool = False
    outcome: str = ""


def prepare_run(client: "MlflowClient", run_id: str, params: dict[str, Any], dataset: Dataset) -> None:
    """Give a new run what does not change: parameters, rounded as a page shows them, and data sets."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, _shown(value)) for key, value in params.items()])
    client.log_inputs(run_id, dataset_inputs(dataset))
    client.set_tag(run_id, PREPARED_TAG, "true")


def _shown(value: Any) -> str:
    """Return a parameter as text; the exact number stands in the trial's ``config.yaml``."""
    return f"{rounded(value):g}" if isinstance(value, float) else str(value)


def send_trial(client: "MlflowClient", record: TrialRecord, run: ChildRun) -> bool:
    """Send what is new of a trial; return whether there was anything."""
    broken = record.state == FAILED and not record.complete  # by its machine; it goes on when the search is resumed
    outcome = record.outcome if record.complete or broken else ""
    if run.points >= len(record.reports) and not record.complete and outcome == run.outcome:
        return False
    metrics = [metric for entry in record.reports[run.points :] for metric in report_metrics(entry)]
    metrics += test_metrics(record)
    for start in range(0, len(metrics), METRICS_AT_ONCE):
        client.log_batch(run.run_id, metrics=metrics[start : start + METRICS_AT_ONCE])
    run.points = len(record.reports)
    if record.complete:
        _send_artifacts(client, record, run.run_id)
    if run.outcome and run.outcome != outcome:
        _take_back_outcome(client, run.run_id)
    if outcome:
        _send_outcome(client, record, run.run_id)
    run.outcome = outcome
    if record.complete:
        client.set_tag(run.run_id, COMPLETE_TAG, "true")
        run.complete = True
    return True


def _send_outcome(client: "MlflowClient", record: TrialRecord, run_id: str) -> None:
    if record.error:
        client.set_tag(run_id, ERROR_TAG, record.error)
    client.set_tag(run_id, OUTCOME_TAG, record.outcome)
    ended = None if record.ended is None else int(record.ended * 1000)
    client.set_terminated(run_id, RUN_STATUS[record.state], ended)


def _take_back_outcome(client: "MlflowClient", run_id: str) -> None:
    """Show as running a trial that is resumed after its machine failed."""
    client.update_run(run_id, status=RUN_STATUS[RUNNING])
    for tag in client.get_run(run_id).data.tags.keys() & {ERROR_TAG, OUTCOME_TAG}:
        client.delete_tag(run_id, tag)


def _send_artifacts(client: "MlflowClient", record: TrialRecord, run_id: str) -> None:
    for name in (CONFIG, BEST, CLUSTERS):
        if (record.folder / name).exists():
            client.log_artifact(run_id, str(record.folder / name))
    if record.reports:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "learning_curve.png"
            draw_learning_curve(record, path)
            client.log_artifact(run_id, str(path))
