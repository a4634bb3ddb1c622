"""The MLflow view against a real tracking database, and against servers that do not answer."""

import base64
import json
import shutil
import time
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from datg.tracking import runs as runs_module
from datg.tracking.entities import rounded
from datg.tracking.runs import Parent, with_line
from datg.tracking.sending import COMPLETE_TAG
from datg.tracking.sent import Unsent, read_sent
from datg.tracking.store import bypass_proxies_for_loopback, how_to_look, tracking_uri
from datg.tracking.view import MlflowView
from datg.trial.data import TrialData
from datg.trial.final_evaluation import evaluate_best
from datg.trial.folder import BEST, EVALUATION
from datg.trial.records import TrialRecord, read_record
from datg.trial.run import StopTrial, run_trial
from tests.trial.test_run import config_of, dataset_of

TAGS = {"dataset": "random", "learner": "protonet", "search": "s-1"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Trial 0 has ended and is evaluated, trial 1 is on its way, trial 2 broke before it began."""
    root = tmp_path_factory.mktemp("trials")
    data = TrialData.from_dataset(dataset_of())

    def stop(progress):
        if progress.iteration >= 4:
            raise StopTrial

    run_trial(config_of(), data, report=lambda progress: None, folder=root / "0")
    evaluate_best(root / "0" / BEST, dataset_of().part("novel"), save_to=root / "0" / EVALUATION)
    run_trial(config_of(seed=1), data, report=stop, folder=root / "1")
    (root / "2").mkdir()
    return root


def records_of(
    folders: Path, states=(("done", "finished"), ("running", ""), ("failed", "failed"))
) -> list[TrialRecord]:
    return [
        read_record(
            number,
            state,
            outcome,
            folders / str(number),
            searched={"strategy.alpha": 0.5 + number, "strategy.clusters": 2},
            tags={**TAGS, "trial": str(number)},
            error="out of memory" if state == "failed" else "",
            ended=1_700_000_000.0 if state != "running" else None,
        )
        for number, (state, outcome) in enumerate(states)
    ]


def view_of(
    tmp_path: Path,
    records,
    uri: str | None = None,
    warnings: list[str] | None = None,
    *,
    identity: str = "0123",
    **more,
) -> MlflowView:
    parent = Parent(
        id=identity,
        name="s-1",
        experiment="datg/random",
        tags={"dataset": "random"},
        params={"trials": 3},
        artifacts=[],
        runs_file=tmp_path / "mlflow.json",
    )
    uri = uri or f"sqlite:///{tmp_path}/mlflow.db"
    told = warnings if warnings is not None else []
    return MlflowView(uri, parent, dataset_of(), records, warn=told.append, resend="sync_mlflow", **more)


def client_of(tmp_path):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def runs_of(tmp_path):
    client = client_of(tmp_path)
    experiment = client.get_experiment_by_name("datg/random")
    runs = client.search_runs([experiment.experiment_id])
    return client, {run.data.tags.get("trial", "parent"): run for run in runs}, len(runs)


@pytest.mark.filterwarnings("ignore")
def test_each_trial_is_one_run_with_everything_however_often_it_is_sent(tmp_path, folders):
    first = view_of(tmp_path, lambda: records_of(folders))
    first.sync()
    first.sync()
    again = view_of(tmp_path, lambda: records_of(folders))  # another process, after a crash
    again.sync()
    client, runs, number = runs_of(tmp_path)
    assert number == 4 and set(runs) == {"parent", "0", "1", "2"}
    assert [runs[key].info.status for key in ("parent", "0", "1", "2")] == ["RUNNING", "FINISHED", "RUNNING", "FAILED"]
    done = runs["0"]
    assert done.data.params == {"strategy.alpha": "0.5", "strategy.clusters": "2"}
    assert done.data.tags["mlflow.parentRunId"] == runs["parent"].info.run_id
    assert done.data.tags["outcome"] == "finished" and runs["2"].data.tags["error"] == "out of memory"
    for key in ("train/loss", "train/ce", "train/mmd", "val/accuracy", "val/ci95", "objective"):
        history = client.get_metric_history(done.info.run_id, key)
        assert [point.step for point in history] == [2, 4, 6], key
        assert len(client.get_metric_history(runs["1"].info.run_id, key)) == 2
    assert done.info.start_time <= client.get_metric_history(done.info.run_id, "objective")[0].timestamp
    assert done.info.run_name.startswith("trial 0, ")
    assert {"test/accuracy", "test/ci95"} <= set(done.data.metrics)
    names = {artifact.path for artifact in client.list_artifacts(done.info.run_id)}
    assert names == {"config.yaml", "best.safetensors", "clusters.json", "learning_curve.png"}
    inputs = client.get_run(done.info.run_id).inputs.dataset_inputs
    assert {entry.dataset.name for entry in inputs} == {"random-base", "random-validation", "random-novel"}
    assert len({entry.dataset.digest for entry in inputs}) == 3


@pytest.mark.filterwarnings("ignore")
def test_a_trial_that_goes_on_after_a_resume_keeps_its_run(tmp_path, folders):
    own = shutil.copytree(folders, tmp_path / "trials")
    view_of(tmp_path, lambda: records_of(own)).sync()
    shutil.copyfile(own / "0" / EVALUATION, own / "1" / EVALUATION)
    later = view_of(tmp_path, lambda: records_of(own, (("done", "finished"), ("pruned", "pruned"))))
    later.start()
    assert later.close(status="FINISHED") is None
    client, runs, number = runs_of(tmp_path)
    assert number == 4
    assert runs["1"].info.status == "FINISHED" and runs["1"].data.tags["outcome"] == "pruned"
    assert runs["parent"].info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(runs["1"].info.run_id, "objective")] == [2, 4]


@pytest.mark.filterwarnings("ignore")
def test_a_trial_that_its_machine_broke_is_shown_as_failed_until_it_goes_on(tmp_path, folders):
    def record(state, outcome, *, final):
        read = read_record(0, state, outcome, folders / "0", searched={}, tags={**TAGS, "trial": "0"}, final=final)
        return [replace(read, error="its process died" if outcome == "failed" else "")]

    shown = []
    for state, outcome, final in [
        ("failed", "failed", False),
        ("running", "", True),
        ("failed", "failed", False),
        ("done", "finished", True),
    ]:
        for _ in range(2):
            view_of(tmp_path, partial(record, state, outcome, final=final)).sync()
        _, runs, number = runs_of(tmp_path)
        tags = runs["0"].data.tags
        shown.append((runs["0"].info.status, tags.get("outcome"), tags.get("error"), COMPLETE_TAG in tags))
        assert number == 2
    broken = ("FAILED", "failed", "its process died", False)
    assert shown == [broken, ("RUNNING", None, None, False), broken, ("FINISHED", "finished", None, True)]


@pytest.mark.filterwarnings("ignore")
def test_a_saved_view_shows_a_searchs_trials_best_first_and_nothing_else(tmp_path, folders):
    def sync(name, identity):
        view = view_of(tmp_path, lambda: records_of(folders), identity=identity)
        columns = ["strategy.alpha", "strategy.clusters"]
        view._parent = replace(view._parent, name=name, columns=columns)
        view.sync()

    sync("s-1", "0123")
    view_of(tmp_path, lambda: records_of(folders), identity="another").sync()  # without a page
    client, runs, _ = runs_of(tmp_path)
    experiment = client.get_experiment_by_name("datg/random")
    (key,) = [key for key in experiment.tags if key.startswith("mlflow.sharedViewState.")]
    view = json.loads(experiment.tags[key])
    assert key.endswith(".0123") and view["name"] == "s-1"
    packed = view["state"].removeprefix("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    for column in state["selectedColumns"]:
        section, name = column.split(".", 1)
        found = {"tags": "tags", "metrics": "metrics", "params": "params"}[section]
        assert name.strip("`") in getattr(client.get_run(runs["0"].info.run_id).data, found), column
    sections = [section["uuid"] for section in state["compareRunSections"]]
    assert sections[0] == "best" and sections[-1] == "novel", "novel classes, which choose nothing, stand last"
    metrics = client.get_run(runs["0"].info.run_id).data.metrics
    for chart in state["compareRunCharts"]:
        drawn = chart.get("selectedMetrics") or [chart["metricKey"]]
        assert chart["metricSectionId"] in sections and set(drawn) <= metrics.keys()
        assert (chart["metricSectionId"] == "novel") == any(name.startswith("test/") for name in drawn)
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    shown = client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=[order])
    assert sorted(run.data.tags["trial"] for run in shown) == ["0", "1", "2"], "none of the other search of that name"
    scored = [run.data.metrics["objective"] for run in shown if "objective" in run.data.metrics]
    assert scored == sorted(scored, reverse=True) and len(scored) >= 2
    sync("s-1", "0123")
    assert client.get_experiment_by_name("datg/random").tags[key] == experiment.tags[key], "written once"
    sync("s-renamed", "0123")
    assert json.loads(client.get_experiment_by_name("datg/random").tags[key])["name"] == "s-renamed"


@pytest.mark.filterwarnings("ignore")
def test_a_dead_server_costs_a_line_and_nothing_else(tmp_path, folders, monkeypatch):
    monkeypatch.setattr("datg.tracking.view.PATIENCE", 3.0)
    warnings: list[str] = []
    view = view_of(tmp_path, lambda: records_of(folders), uri="http://user:SECRET@127.0.0.1:9", warnings=warnings)
    began = time.monotonic()
    view.start()
    assert time.monotonic() - began < 1
    assert view.close(status="FINISHED") == Unsent(points=42, trials=3, total=42)
    assert len(warnings) == 1 and "does not take the results" in warnings[0]
    assert "SECRET" not in warnings[0]


def test_the_default_store_is_what_a_bare_mlflow_ui_shows(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert how_to_look(tracking_uri(None)) == "mlflow ui"
    assert how_to_look("sqlite:////elsewhere/x.db") == "mlflow ui --backend-store-uri sqlite:////elsewhere/x.db"
    assert how_to_look("sqlite:////my runs/x.db") == "mlflow ui --backend-store-uri 'sqlite:////my runs/x.db'"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert how_to_look(tracking_uri(None)) == "http://127.0.0.1:5000"
    assert how_to_look("http://h:1/", "/#/x") == "http://h:1/#/x"
    assert how_to_look("sqlite:///x.db", "/#/x").endswith("x.db, then http://127.0.0.1:5000/#/x")


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_was_made_in_part_is_completed_and_not_made_again(tmp_path, folders, monkeypatch):
    view = view_of(tmp_path, lambda: records_of(folders)[:1])
    prepare, calls = runs_module.prepare_run, []

    def fail_once(client, run_id, *arguments):
        calls.append(run_id)
        if len(calls) == 2:  # the parent is the first
            raise ConnectionError("gone")
        prepare(client, run_id, *arguments)

    monkeypatch.setattr(runs_module, "prepare_run", fail_once)
    assert not view.try_to(view.sync)
    assert view.try_to(view.sync)
    _, runs, number = runs_of(tmp_path)
    assert number == 2 and runs["0"].data.params["strategy.alpha"] == "0.5"
    assert runs["0"].info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_another_search_of_the_same_name_gets_runs_of_its_own(tmp_path, folders):
    first = view_of(tmp_path, lambda: records_of(folders))
    first.sync()
    view_of(tmp_path, lambda: records_of(folders), identity="4567").sync()
    assert runs_of(tmp_path)[2] == 8


@pytest.mark.parametrize("known", [None, "intranet.example, 127.0.0.1"])
def test_proxies_of_the_environment_are_not_asked_for_this_machine(known, monkeypatch):
    from requests.utils import get_environ_proxies

    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://192.0.2.3:3128")
    if known:
        monkeypatch.setenv("NO_PROXY", known)
    bypass_proxies_for_loopback()
    for url in ("http://127.0.0.1:5000", "http://localhost:5000"):
        assert get_environ_proxies(url) == {}
    assert get_environ_proxies("http://mlflow.example:5000")["http"] == "http://192.0.2.3:3128"
    assert get_environ_proxies("http://intranet.example") == (
        {} if known else get_environ_proxies("http://other.example")
    )


def test_an_experiment_lists_its_searches_and_keeps_what_a_user_wrote():
    written = with_line("Our skin pictures.", "- [a](x): ", "not ended")
    assert written == "Our skin pictures.\n- [a](x): not ended"
    both = with_line(written, "- [b](y): ", "not ended")
    assert with_line(both, "- [a](x): ", "done") == "Our skin pictures.\n- [a](x): done\n- [b](y): not ended"
    both = "Our skin pictures.\n- our own list"
    for number in range(40):
        both = with_line(both, f"- [{number}](#/experiments/1/runs): ", "long " * 60)
    assert len(both) <= 5000 and both.startswith("Our skin pictures.\n- our own list\n- [")
    assert "- [39](" in both and "- [0](" not in both


@pytest.mark.parametrize(
    ("value", "shown"), [(0.283688894, 0.2837), (1.5e-7, 1.5e-7), (20000.0, 20000.0), (12345.0, 12345.0)]
)
def test_numbers_are_rounded_to_what_they_mean(value, shown):
    assert rounded(value) == shown


@pytest.mark.filterwarnings("ignore")
def test_the_page_is_told_of_once_it_is_there(tmp_path, folders):
    told = []
    view = view_of(
        tmp_path, lambda: records_of(folders), opened=lambda: told.append(read_sent(tmp_path / "mlflow.json"))
    )
    view.sync()
    view.sync()
    assert len(told) == 1 and told[0].parent
