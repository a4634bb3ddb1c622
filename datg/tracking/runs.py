"""The MLflow runs of a search: one above, one below it for each trial and reference, found again by their tags.

A crash between making a run and noting its id makes no second run; one that a slow server made after its answer was given up is
deleted, and one that somebody deleted is restored.
"""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datg.data.catalog import Dataset
from datg.storage.files import write_json
from datg.tracking.database import database_file, whole_database
from datg.tracking.entities import best_metrics, fresh_validation_metrics, gain_metrics
from datg.tracking.moved import artifact_folder, follow_move, local_path
from datg.tracking.saved_view import VIEW_TAG, page, saved_view
from datg.tracking.sending import COMPLETE_TAG, OUTCOME_TAG, PREPARED_TAG, ChildRun, prepare_run, send_trial
from datg.tracking.sent import Sent, read_sent
from datg.tracking.store import bypass_proxies_for_loopback
from datg.trial.records import DONE, TrialRecord
from datg.trial.selection import Selection, gain, select

if TYPE_CHECKING:
    from mlflow.entities import Run

ID_TAG, SURPLUS_TAG = "mlflow.datg.id", "mlflow.datg.surplus"  # hidden from pages
SELECTION_TAG = "selection"  # of a trial: best, or tie
PARENT_TAG = "mlflow.parentRunId"
DESCRIPTION_TAG = "mlflow.note.content"
LONGEST_DESCRIPTION, LONGEST_LINE = 5000, 500  # characters; MLflow takes 5,000 as a tag of an experiment
OWN_LINE = "](#/experiments/"  # in the lines of an experiment's description that are ours
ENDED = {"FINISHED": "finished", "KILLED": "stopped, can be resumed", "FAILED": "ended with an error"}
PARENT = "parent"  # stands for the run above among the keys of trials and references


@dataclass(frozen=True, kw_only=True)
class Parent:
    """Describe the run that stands above the trials.

    Attributes:
        id: all runs below carry it as a tag, and are found again by it.
        name: of the run and of the search.
        experiment: where it stands.
        tags: what may change when it goes on; params cannot.
        artifacts: files logged when it ends.
        selects: whether one of the trials is chosen, as in a search.
        columns: parameters of the runs below that a page of them shows; none, and there is no such page.
        name_of: what a run below is called: first what tells it from the others.
        describe: returns the answer, in lines, once there is one; the run's description.
        own_trial: the trial that has the setting that the search began from; None if there is none.
        runs_file: where the ids of the runs are written down.
    """

    id: str
    name: str
    experiment: str
    tags: dict[str, str]
    params: dict[str, Any]
    artifacts: list[Path]
    runs_file: Path
    selects: bool = False
    columns: list[str] = field(default_factory=list)
    name_of: Callable[[TrialRecord], str] = lambda record: record.reference or f"trial {record.number}"
    describe: Callable[[], list[str]] = list
    own_trial: int | None = None


class SearchRuns:
    """Hold the runs of one search, as they are in MLflow when this is made."""

    def __init__(
        self, uri: str, parent: Parent, dataset: Dataset, warn: Callable[[str], None] = lambda message: None
    ) -> None:
        """Find the runs, and make what is missing of experiment and parent; ``warn`` is told what is put in order before.

        Raises:
            Exception: whatever MLflow raises.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # where results go
        bypass_proxies_for_loopback()
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._uri, self._parent, self._dataset = uri, parent, dataset
        self._children: dict[str, ChildRun] = {}
        self._begun: dict[str, str] = {}  # runs that an earlier attempt made, but did not finish making
        self._marks: dict[str, str] = {}  # SELECTION_TAG of the trials that have one
        with whole_database(uri, warn):
            self._client: MlflowClient = MlflowClient(tracking_uri=uri)
            self._experiment_id = self._find_experiment(warn)
        self._save_view()
        runs = self._find_runs()
        self._parent_id = self._open_parent(runs.pop(PARENT, None))
        self._list_in_experiment("not ended")
        self._take_children(runs)
        self._write_runs_file()

    def _find_experiment(self, warn: Callable[[str], None]) -> str:
        client, name = self._client, self._parent.experiment
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return str(client.create_experiment(name, self._artifact_location()))
        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
        file = database_file(self._uri)
        moved = "" if file is None else follow_move(file, name, experiment.artifact_location)
        if moved:
            warn(moved)
        return str(experiment.experiment_id)

    def _save_view(self) -> None:
        """Keep the page of this search's runs in MLflow, if it has one."""
        if not self._parent.columns:
            return
        tag = f"{VIEW_TAG}{self._parent.id}"
        before = self._client.get_experiment(self._experiment_id).tags.get(tag)
        view = saved_view(self._parent.name, self._own_runs, self._parent.columns, before)
        if view is not None:
            self._client.set_experiment_tag(self._experiment_id, tag, view)

    def _list_in_experiment(self, told: str) -> None:
        """Give the search its line in the experiment's description."""
        run = f"#/experiments/{self._experiment_id}/runs/{self._parent_id}"
        where = page(self._experiment_id, self._parent.id).lstrip("/") if self._parent.columns else run
        begin = f"- [{self._parent.name}]({where}): "
        before = self._client.get_experiment(self._experiment_id).tags.get(DESCRIPTION_TAG, "")
        after = with_line(before, begin, told)
        if after != before:
            self._client.set_experiment_tag(self._experiment_id, DESCRIPTION_TAG, after)

    def _artifact_location(self) -> str | None:
        """Return a place beside a local database, where ``mlflow ui`` in that folder looks; a server decides for itself."""
        file = database_file(self._uri)
        return None if file is None else artifact_folder(file, self._parent.experiment).as_uri()

    def _find_runs(self) -> dict[str, "Run"]:
        """Return one run a trial or reference by its key, and that of the parent, whatever has become of them."""
        runs: dict[str, Run] = {}
        for run in sorted(
            self._search_runs(), key=lambda run: (run.info.lifecycle_stage != "active", run.info.start_time)
        ):
            tags = run.data.tags
            key = tags.get("trial") or tags.get("reference") or PARENT
            if SURPLUS_TAG in tags:
                continue
            if key not in runs:
                runs[key] = run
                if run.info.lifecycle_stage != "active":
                    self._client.restore_run(run.info.run_id)
            elif run.info.lifecycle_stage == "active":  # made by a server that answered too late
                self._client.set_tag(run.info.run_id, SURPLUS_TAG, "true")
                self._client.delete_run(run.info.run_id)
        return runs

    @property
    def _own_runs(self) -> str:
        return f"tags.`{ID_TAG}` = '{self._parent.id}'"

    def _search_runs(self) -> Iterator["Run"]:
        from mlflow.entities import ViewType

        token = None
        while True:
            found = self._client.search_runs(
                [self._experiment_id],
                filter_string=self._own_runs,
                run_view_type=ViewType.ALL,
                page_token=token,
            )
            yield from found
            token = found.token
            if not token:
                return

    def _open_parent(self, existing: "Run | None") -> str:
        parent = self._parent
        if existing is not None:
            run_id = str(existing.info.run_id)
            self._client.update_run(run_id, status="RUNNING")
            for key, value in parent.tags.items():
                if existing.data.tags.get(key) != value:  # it goes on with more trials or seeds, or has been changed
                    self._client.set_tag(run_id, key, value)
        else:
            tags = {ID_TAG: parent.id, "search": parent.name, **parent.tags}
            run_id = str(self._client.create_run(self._experiment_id, tags=tags, run_name=parent.name).info.run_id)
        if existing is None or PREPARED_TAG not in existing.data.tags:
            prepare_run(self._client, run_id, parent.params, self._dataset)
        return run_id

    def _take_children(self, runs: dict[str, "Run"]) -> None:
        noted = read_sent(self._parent.runs_file)
        for key, run in runs.items():
            tags, run_id = run.data.tags, run.info.run_id
            if SELECTION_TAG in tags:
                self._marks[key] = tags[SELECTION_TAG]
            if tags.get(PARENT_TAG) == self._parent_id and PREPARED_TAG in tags:
                points = noted.points.get(key, 0) if noted.trials.get(key) == run_id else 0
                complete = COMPLETE_TAG in tags and (database_file(self._uri) is None or _has_artifacts(run))
                self._children[key] = ChildRun(run_id, points, complete, tags.get(OUTCOME_TAG, ""))
            else:
                self._begun[key] = run_id

    def send(self, record: TrialRecord) -> bool:
        """Send what MLflow lacks of a trial; return whether there was anything.

        Raises:
            Exception: whatever MLflow raises.
        """
        run = self._children.get(record.key)
        if run is None:
            run = self._children[record.key] = self._create_child(record)
            self._write_runs_file()
        sent = not run.complete and send_trial(self._client, record, run)
        if sent:
            self._write_runs_file()
        return sent

    def _create_child(self, record: TrialRecord) -> ChildRun:
        """Make the run of a trial, or complete one that an earlier attempt has only begun."""
        run_id = self._begun.get(record.key)
        if run_id is not None:
            self._client.set_tag(run_id, PARENT_TAG, self._parent_id)  # the parent may be another one by now
        else:
            tags = {ID_TAG: self._parent.id, **record.tags, PARENT_TAG: self._parent_id}
            name = f"{self._parent.name_of(record)}, {self._parent.name}"
            start = None if record.began is None else int(record.began * 1000)
            run_id = self._client.create_run(
                self._experiment_id, start_time=start, tags=tags, run_name=name
            ).info.run_id
        prepare_run(self._client, run_id, record.searched, self._dataset)
        return ChildRun(run_id)

    def end(self, status: str, records: list[TrialRecord]) -> None:
        """Say which trials are best, log the parent's files and end it.

        Args:
            status: FINISHED, KILLED or FAILED.
            records: of trials and references, all of which have been sent.

        Raises:
            Exception: whatever MLflow raises.
        """
        if self._parent.selects:
            ended = [record for record in records if record.state == DONE and record.complete]
            self._show(
                select(record for record in records if not record.reference),
                [record for record in ended if record.reference or record.number == self._parent.own_trial],
            )
        lines = self._parent.describe()
        if lines:
            self._client.set_tag(self._parent_id, DESCRIPTION_TAG, "\n\n".join(lines))
        self._list_in_experiment(lines[0] if lines else ENDED.get(status, status.lower()))
        for path in self._parent.artifacts:
            if path.exists():
                self._client.log_artifact(self._parent_id, str(path))
        self._client.set_terminated(self._parent_id, status)

    def _show(self, selection: Selection, references: list[TrialRecord]) -> None:
        """Mark the best trial and its ties, and give the parent what the best is worth."""
        marks = {record.key: selection.mark(record.number) for record in selection.chosen}
        for key in self._marks.keys() - marks.keys():
            self._client.delete_tag(self._children[key].run_id, SELECTION_TAG)
        for key, mark in marks.items():
            if self._marks.get(key) != mark:
                self._client.set_tag(self._children[key].run_id, SELECTION_TAG, mark)
        self._marks = marks
        for record in selection.finalists:
            self._client.log_batch(self._children[record.key].run_id, metrics=fresh_validation_metrics(record))
        if selection.best is not None:
            self._client.set_tag(self._parent_id, "best", f"trial {selection.best.number}, the best of {selection.of}")
            metrics = best_metrics(selection.best)
            metrics += [point for record in references for point in gain_metrics(gain(selection.best, record))]
            self._client.log_batch(self._parent_id, metrics=metrics)

    def _write_runs_file(self) -> None:
        runs = sorted(self._children.items())
        sent = Sent(
            self._experiment_id,
            self._parent_id,
            trials={key: run.run_id for key, run in runs},
            points={key: run.points for key, run in runs},
            complete=[key for key, run in runs if run.complete],
        )
        write_json(self._parent.runs_file, asdict(sent))


def with_line(description: str, begin: str, told: str) -> str:
    """Return an experiment's description in which the line that begins so says what is ``told``.

    All other lines, a user's own too, stay, but the oldest of searches where there is no room for all.
    """
    lines = description.splitlines()
    line = (begin + told)[:LONGEST_LINE]
    places = [index for index, text in enumerate(lines) if text.startswith(begin)]
    lines = [*lines, line] if not places else [line if index == places[0] else text for index, text in enumerate(lines)]
    searches = [text for text in lines if OWN_LINE in text and text != line]
    while len("\n".join(lines)) > LONGEST_DESCRIPTION and searches:
        lines.remove(searches.pop(0))
    return "\n".join(lines)


def _has_artifacts(run: "Run") -> bool:
    """Return whether a run's files are where MLflow believes them; assumed where that is no folder."""
    folder = local_path(run.info.artifact_uri)
    return folder is None or folder.exists()
