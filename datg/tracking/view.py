"""Shows trials in MLflow: one parent run, one child run a trial, brought up to date from records again and again.

Nothing here is a source of truth. :meth:`MlflowView.sync` compares the records with what it has sent and sends the rest;
points carry their original time and step, so sending one twice stores it once. Runs are found again by their tags, so a
crash between making a run and noting its id makes no second run; one that a slow server made after its answer was given up
is deleted, and one that somebody deleted is restored. In the background a dead server costs nothing but a line.
"""

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datg.data.catalog import Dataset
from datg.errors import without_password
from datg.files import write_json
from datg.records import DONE, FAILED, PRUNED, RUNNING, TrialRecord
from datg.tracking.artifacts import draw_learning_curve
from datg.tracking.database import SQLITE, database_file, whole_database
from datg.tracking.entities import dataset_inputs, points_in, progress_metrics, test_metrics
from datg.trial import BEST, CLUSTERS, CONFIG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

METRICS_AT_ONCE = 1000  # MLflow's own limit for one batch
SECONDS_BETWEEN_SYNCS = 5.0
PATIENCE, HURRIED = 30.0, 5.0  # seconds without progress that the end of a search waits, and after Ctrl-C
SWITCH_SECONDS = 0.0005
MESSAGE_LENGTH = 200
STATUS = {RUNNING: "RUNNING", DONE: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED"}
COMPLETE_TAG, PREPARED_TAG, ID_TAG, SURPLUS_TAG = "datg.complete", "datg.prepared", "datg.id", "datg.surplus"
PARENT = "parent"


def tracking_uri(given: str | None) -> str:
    """``given``, else ``$MLFLOW_TRACKING_URI``, else the database that a bare ``mlflow ui`` in this folder shows."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path.cwd() / 'mlflow.db'}"


def how_to_look(uri: str) -> str:
    """The command, or the address, that shows a tracking store."""
    if uri == tracking_uri(None) and "MLFLOW_TRACKING_URI" not in os.environ:
        return "mlflow ui"
    shown = without_password(uri)
    return shown if uri.startswith("http") else f"mlflow ui --backend-store-uri {shown}"


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
class Sent:
    """What MLflow has, as the driver last knew; kept in a file beside the search.

    Attributes:
        experiment: its id.
        parent: the id of the run above.
        trials: ids of the runs by trial number (as text).
        points: validations sent, likewise.
        complete: numbers of trials of which nothing more will come.
    """

    experiment: str = ""
    parent: str = ""
    trials: dict[str, str] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    complete: list[int] = field(default_factory=list)


def read_sent(path: Path) -> Sent:
    """Reads what :class:`MlflowView` wrote; a file that is missing or damaged says that nothing was sent."""
    try:
        return Sent(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Sent()


@dataclass(frozen=True)
class Unsent:
    """What MLflow lacks.

    Attributes:
        points: metric points.
        trials: that they belong to.
        total: metric points there are.
    """

    points: int
    trials: int
    total: int

    def __str__(self) -> str:
        """In words."""
        return f"{self.points} of {self.total} metric points, of {self.trials} trials"


def count_unsent(records: list[TrialRecord], sent: Sent) -> Unsent | None:
    """What MLflow lacks of ``records``; None if it has everything."""
    points = total = trials = 0
    for record in records:
        known, key = points_in(record), str(record.number)
        missing = 0 if record.number in sent.complete else known - points_in(record, sent.points.get(key, 0))
        total += known
        points += missing
        trials += missing > 0 or (record.complete and record.number not in sent.complete)
    return Unsent(points, trials, total) if trials else None


@dataclass
class _Run:
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
    _sent: dict[int, _Run] = field(default_factory=dict)
    _begun: dict[int, str] = field(default_factory=dict)
    _finished: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failing: bool = False
    _final: str = ""
    _progress: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Begins to sync in the background."""
        # Every small write of the driver gives up the interpreter's lock, and would wait 5 ms each time to get it back.
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread = threading.Thread(target=self._keep_syncing, name="mlflow", daemon=True)
        self._thread.start()

    def close(self, *, status: str, hurry: Callable[[], bool] = lambda: False) -> Unsent | None:
        """Syncs a last time and stops the background work; gives up when nothing is taken for :data:`PATIENCE` seconds.

        Args:
            status: of the parent from now on: FINISHED, KILLED or FAILED.
            hurry: whether to give up after :data:`HURRIED` seconds, asked all the time.

        Returns:
            What could not be sent; None if everything was.
        """
        assert self._thread is not None
        self._final, self._progress = status, time.monotonic()
        self._finished.set()
        hurried: float | None = None
        while self._thread.is_alive() and time.monotonic() - self._progress < PATIENCE:
            if hurry():
                hurried = hurried or time.monotonic()
                if time.monotonic() - hurried > HURRIED:
                    break
            self._thread.join(0.1)
        lacking = count_unsent(self.records(), read_sent(self.parent.runs_file))
        return lacking or (Unsent(0, 0, 0) if self._failing or self._thread.is_alive() else None)

    def _keep_syncing(self) -> None:
        while not self._finished.wait(SECONDS_BETWEEN_SYNCS):
            self._try(self.sync)
        while not self._try(lambda: self.finish(self._final)):
            time.sleep(min(1.0, SECONDS_BETWEEN_SYNCS))  # until close() loses its patience

    def _try(self, action: Callable[[], None]) -> bool:
        """Whether it could be done."""
        try:
            action()
        except Exception as error:  # whatever MLflow, its database or the network throw: it must not hurt the search
            if not self._failing:
                reason = without_password((str(error).strip() or type(error).__name__).splitlines()[0])[:MESSAGE_LENGTH]
                self.warn(
                    f"MLflow at {without_password(self.uri)} does not take the results ({reason}); they are sent later."
                )
            self._failing = True
            self._forget()
            return False
        else:
            if self._failing:
                self.warn("MLflow takes the results again.")
            self._failing = False
            return True

    def finish(self, status: str) -> None:
        """Looks at what is really there, sends the rest, and ends the parent with ``status``.

        Raises:
            Exception: whatever MLflow raises.
        """
        self._forget()
        self.sync()
        assert self._client is not None
        for path in self.parent.artifacts:
            if path.exists():
                self._client.log_artifact(self._parent_id, str(path))
        self._client.set_terminated(self._parent_id, status)

    def _forget(self) -> None:
        """Something may have been made in part, or deleted: the next attempt looks at what is really there."""
        self._client, self._sent, self._begun = None, {}, {}

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
            if not sent.complete and self._send(client, record, sent):
                self._progress = time.monotonic()
                self._write_runs_file()

    def _connect(self) -> "MlflowClient":
        """The client, with experiment and parent run; made once, because making them can fail halfway."""
        if self._client is not None:
            return self._client
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # where results go
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with whole_database(self.uri):
            client = MlflowClient(tracking_uri=self.uri)
            self._experiment_id = self._find_experiment(client)
        runs = self._own_runs(client)
        if PARENT in runs:
            self._parent_id = runs[PARENT].info.run_id
            client.update_run(self._parent_id, status="RUNNING")
        else:
            tags = {ID_TAG: self.parent.id, "search": self.parent.name, **self.parent.tags}
            self._parent_id = client.create_run(self._experiment_id, tags=tags, run_name=self.parent.name).info.run_id
        if PARENT not in runs or PREPARED_TAG not in runs[PARENT].data.tags:
            self._prepare(client, self._parent_id, self.parent.params)
        known = read_sent(self.parent.runs_file)
        for trial, run in runs.items():
            tags, run_id = run.data.tags, run.info.run_id
            if tags.get("mlflow.parentRunId") == self._parent_id and PREPARED_TAG in tags:
                points = known.points.get(trial, 0) if known.trials.get(trial) == run_id else 0
                self._sent[int(trial)] = _Run(run_id, points, complete=COMPLETE_TAG in tags)
            elif trial != PARENT:
                self._begun[int(trial)] = run_id
        self._client = client
        self._write_runs_file()
        return client

    def _find_experiment(self, client: "MlflowClient") -> str:
        found = client.get_experiment_by_name(self.parent.experiment)
        if found is None:
            return str(client.create_experiment(self.parent.experiment, self._artifact_location()))
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _own_runs(self, client: "MlflowClient") -> dict[str, "Run"]:
        """One run a trial number (as text), and that of the parent, whatever has become of them."""
        found: dict[str, Run] = {}
        for run in sorted(
            self._runs(client), key=lambda run: (run.info.lifecycle_stage != "active", run.info.start_time)
        ):
            trial = run.data.tags.get("trial", PARENT)
            if SURPLUS_TAG in run.data.tags:
                continue
            if trial not in found:
                found[trial] = run
                if run.info.lifecycle_stage != "active":
                    client.restore_run(run.info.run_id)
            elif run.info.lifecycle_stage == "active":  # made by a server that answered too late
                client.set_tag(run.info.run_id, SURPLUS_TAG, "true")
                client.delete_run(run.info.run_id)
        return found

    def _artifact_location(self) -> str | None:
        """Beside a local database, where ``mlflow ui`` in that folder looks; a server decides for itself."""
        file = database_file(self.uri)
        return None if file is None else (file.parent / "mlartifacts" / self.parent.experiment).as_uri()

    def _runs(self, client: "MlflowClient") -> Iterator["Run"]:
        from mlflow.entities import ViewType

        token = None
        while True:
            page = client.search_runs(
                [self._experiment_id],
                filter_string=f"tags.`{ID_TAG}` = '{self.parent.id}'",
                run_view_type=ViewType.ALL,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _create_child(self, client: "MlflowClient", record: TrialRecord) -> _Run:
        """Makes the run of a trial, or completes one that an earlier attempt has only begun."""
        run_id = self._begun.get(record.number)
        tags = {ID_TAG: self.parent.id, **record.tags, "mlflow.parentRunId": self._parent_id}
        if run_id is not None:
            client.set_tag(run_id, "mlflow.parentRunId", self._parent_id)  # the parent may be another one by now
        else:
            name = f"{self.parent.name} #{record.number}"
            run_id = client.create_run(self._experiment_id, tags=tags, run_name=name).info.run_id
        self._prepare(client, run_id, record.searched)
        return _Run(run_id)

    def _prepare(self, client: "MlflowClient", run_id: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
        client.log_inputs(run_id, dataset_inputs(self.dataset))
        client.set_tag(run_id, PREPARED_TAG, "true")

    def _send(self, client: "MlflowClient", record: TrialRecord, sent: _Run) -> bool:
        """Sends what is new of a trial; whether there was anything."""
        if sent.points >= len(record.progress) and not record.complete:
            return False
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
        return True

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
        runs = sorted(self._sent.items())
        sent = Sent(
            self._experiment_id,
            self._parent_id,
            trials={str(number): run.run_id for number, run in runs},
            points={str(number): run.points for number, run in runs},
            complete=[number for number, run in runs if run.complete],
        )
        write_json(self.parent.runs_file, asdict(sent))
