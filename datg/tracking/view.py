"""Shows trials in MLflow: one parent run, one child run a trial, brought up to date from records again and again.

Nothing here is a source of truth. :meth:`MlflowView.sync` compares the records with what it has sent and sends the rest;
points carry their original time and step, so sending one twice stores it once. Runs are found again by their tags, so a
crash between making a run and noting its id makes no second run. In the background a dead server costs nothing but a line.
"""

import contextlib
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from datg.data.catalog import Dataset
from datg.files import write_json
from datg.records import DONE, FAILED, PRUNED, RUNNING, TrialRecord
from datg.tracking.artifacts import draw_learning_curve
from datg.tracking.entities import dataset_inputs, progress_metrics, test_metrics
from datg.trial import BEST, CLUSTERS, CONFIG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

METRICS_AT_ONCE = 1000  # MLflow's own limit for one batch
SECONDS_BETWEEN_SYNCS = 5.0
MESSAGE_LENGTH = 200
STATUS = {RUNNING: "RUNNING", DONE: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED"}
COMPLETE_TAG, PREPARED_TAG, ID_TAG = "datg.complete", "datg.prepared", "datg.id"


def tracking_uri(given: str | None) -> str:
    """``given``, else ``$MLFLOW_TRACKING_URI``, else the database that a bare ``mlflow ui`` in this folder shows."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def how_to_look(uri: str) -> str:
    """The command, or the address, that shows a tracking store."""
    if uri == tracking_uri(None) and "MLFLOW_TRACKING_URI" not in os.environ:
        return "mlflow ui"
    return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {_without_password(uri)}"


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The run that stands above the trials.

    Attributes:
        id: all runs below carry it as a tag, and are found again by it.
        name: of the run and of the search.
        experiment: where it stands.
        tags: of the parent.
        params: of the parent.
        artifacts: files logged when it ends.
        runs_file: where the ids of the runs are written down.
    """

    id: str
    name: str
    experiment: str
    tags: dict[str, str]
    params: dict[str, Any]
    artifacts: list[Path]
    runs_file: Path


@dataclass
class _Sent:
    """What MLflow already has of a trial."""

    run_id: str
    points: int = 0
    complete: bool = False


@dataclass
class MlflowView:
    """Keeps MLflow up to date with ``records()``.

    Attributes:
        uri: of the tracking store.
        parent: the run above.
        dataset: logged as three inputs of every run.
        records: what there is to show, called from the background thread.
        warn: told once when MLflow cannot be reached, and once when it can again.
    """

    uri: str
    parent: Parent
    dataset: Dataset
    records: Callable[[], list[TrialRecord]]
    warn: Callable[[str], None] = lambda message: None
    _client: "MlflowClient | None" = None
    _experiment_id: str = ""
    _parent_id: str = ""
    _sent: dict[int, _Sent] = field(default_factory=dict)
    _begun: dict[int, str] = field(default_factory=dict)
    _finished: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failing: bool = False

    def start(self) -> None:
        """Begins to sync in the background; the tables of a local database are made before this returns."""
        if self.uri.startswith("sqlite:///"):
            self._try(self._open_store)
        self._thread = threading.Thread(target=self._keep_syncing, name="mlflow", daemon=True)
        self._thread.start()

    def close(self, *, status: str, timeout: float = 60.0) -> bool:
        """Stops the background work and syncs a last time, for at most ``timeout`` seconds.

        Args:
            status: of the parent from now on: FINISHED, KILLED or FAILED.
            timeout: in seconds.

        Returns:
            Whether everything has been sent.
        """
        self._finished.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        last = threading.Thread(target=self._try, args=(lambda: self._finish(status),), daemon=True)
        last.start()
        last.join(timeout)
        return not last.is_alive() and not self._failing

    def _keep_syncing(self) -> None:
        while True:
            self._try(self.sync)
            if self._finished.wait(SECONDS_BETWEEN_SYNCS):
                return

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever MLflow, its database or the network throw: it must not hurt the search
            if not self._failing:
                reason = _without_password((str(error).strip() or type(error).__name__).splitlines()[0])[
                    :MESSAGE_LENGTH
                ]
                self.warn(
                    f"MLflow at {_without_password(self.uri)} does not take the results ({reason}); they are sent later."
                )
            self._failing = True
            # Something may have been made in part: the next attempt looks at what is really there.
            self._client, self._sent = None, {}
        else:
            if self._failing:
                self.warn("MLflow takes the results again.")
            self._failing = False

    def _finish(self, status: str) -> None:
        self.sync()
        assert self._client is not None
        for path in self.parent.artifacts:
            if path.exists():
                self._client.log_artifact(self._parent_id, str(path))
        self._client.set_terminated(self._parent_id, status)

    def sync(self) -> None:
        """Sends everything that MLflow does not have yet.

        Raises:
            Exception: whatever MLflow raises; what was not sent is sent by the next call.
        """
        client = self._connect()
        for record in self.records():
            sent = self._sent.get(record.number)
            if sent is None:
                sent = self._sent[record.number] = self._create_child(client, record)
                self._write_runs_file()
            if not sent.complete:
                self._send(client, record, sent)

    def _connect(self) -> "MlflowClient":
        """The client, with experiment and parent run; made once, because making them can fail halfway."""
        if self._client is not None:
            return self._client
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with _schema_lock(self.uri):  # several processes that make the tables of an empty database at once break it
            client = MlflowClient(tracking_uri=self.uri)
            found = client.get_experiment_by_name(self.parent.experiment)
            self._experiment_id = (
                found.experiment_id
                if found
                else client.create_experiment(self.parent.experiment, self._artifact_location())
            )
        runs = list(self._runs(client))
        parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        if parents:
            self._parent_id = parents[0].info.run_id
            client.update_run(self._parent_id, status="RUNNING")
        else:
            tags = {ID_TAG: self.parent.id, "search": self.parent.name, **self.parent.tags}
            self._parent_id = client.create_run(self._experiment_id, tags=tags, run_name=self.parent.name).info.run_id
        if not parents or PREPARED_TAG not in parents[0].data.tags:
            self._prepare(client, self._parent_id, self.parent.params)
        for run in runs:
            if run.data.tags.get("mlflow.parentRunId") == self._parent_id and PREPARED_TAG in run.data.tags:
                complete = COMPLETE_TAG in run.data.tags
                self._sent[int(run.data.tags["trial"])] = _Sent(run.info.run_id, complete=complete)
            elif run.info.run_id != self._parent_id:
                self._begun[int(run.data.tags["trial"])] = run.info.run_id
        self._client = client
        self._write_runs_file()
        return client

    def _open_store(self) -> None:
        self._connect()

    def _artifact_location(self) -> str | None:
        """Beside a local database, where ``mlflow ui`` in that folder looks; a server decides for itself."""
        if not self.uri.startswith("sqlite:///"):
            return None
        return (Path(self.uri.removeprefix("sqlite:///")).parent / "mlartifacts" / self.parent.experiment).as_uri()

    def _runs(self, client: "MlflowClient") -> Iterator["Run"]:
        token = None
        while True:
            page = client.search_runs(
                [self._experiment_id], filter_string=f"tags.`{ID_TAG}` = '{self.parent.id}'", page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _create_child(self, client: "MlflowClient", record: TrialRecord) -> _Sent:
        """Makes the run of a trial, or completes one that an earlier attempt has only begun."""
        run_id = self._begun.get(record.number)
        if run_id is None:
            tags = {ID_TAG: self.parent.id, **record.tags, "mlflow.parentRunId": self._parent_id}
            name = f"{self.parent.name} #{record.number}"
            run_id = client.create_run(self._experiment_id, tags=tags, run_name=name).info.run_id
        self._prepare(client, run_id, record.searched)
        return _Sent(run_id)

    def _prepare(self, client: "MlflowClient", run_id: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
        client.log_inputs(run_id, dataset_inputs(self.dataset))
        client.set_tag(run_id, PREPARED_TAG, "true")

    def _send(self, client: "MlflowClient", record: TrialRecord, sent: _Sent) -> None:
        metrics = [metric for entry in record.progress[sent.points :] for metric in progress_metrics(entry)]
        metrics += test_metrics(record)
        for start in range(0, len(metrics), METRICS_AT_ONCE):
            client.log_batch(sent.run_id, metrics=metrics[start : start + METRICS_AT_ONCE])
        sent.points = len(record.progress)
        if record.complete:
            self._send_artifacts(client, record, sent.run_id)
            client.set_tag(sent.run_id, "outcome", record.outcome)
            if record.error:
                client.set_tag(sent.run_id, "error", record.error)
            ended = None if record.ended is None else int(record.ended * 1000)
            client.set_terminated(sent.run_id, STATUS[record.state], ended)
            client.set_tag(sent.run_id, COMPLETE_TAG, "true")
            sent.complete = True

    def _send_artifacts(self, client: "MlflowClient", record: TrialRecord, run_id: str) -> None:
        for name in (CONFIG, BEST, CLUSTERS):
            if (record.folder / name).exists():
                client.log_artifact(run_id, str(record.folder / name))
        if record.progress:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "learning_curve.png"
                draw_learning_curve(record, path)
                client.log_artifact(run_id, str(path))

    def _write_runs_file(self) -> None:
        trials = {str(number): sent.run_id for number, sent in sorted(self._sent.items())}
        ids = {"experiment": self._experiment_id, "parent": self._parent_id, "trials": trials}
        write_json(self.parent.runs_file, ids)


def _schema_lock(uri: str) -> contextlib.AbstractContextManager[Any]:
    if not uri.startswith("sqlite:///"):
        return contextlib.nullcontext()
    return FileLock(uri.removeprefix("sqlite:///") + ".lock")


def _without_password(text: str) -> str:
    """``text`` without the user and password of any address in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)
