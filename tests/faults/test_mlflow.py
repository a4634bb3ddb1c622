"""MLflow refuses, stumbles, is away or never comes back: the search does not notice, and afterwards every point is there."""

import random
import sqlite3
import statistics
import subprocess
import sys
import threading
import time

import pytest

from datg.cli.mlflow_runs import search_run
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.tracking import view as tracking
from datg.tracking.database import whole_database
from datg.tracking.view import MlflowView
from tests.faults.scripted import drive, validate
from tests.faults.searches import SMALL, check_mlflow, check_whole, steps
from tests.faults.servers import MlflowServer, Proxy
from tests.search.conftest import settings_for

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
AT_ONCE, BETWEEN = 4, 0.2  # trials, and seconds from one validation of a trial to the next
SEARCH_TRIALS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = MlflowServer(tmp_path_factory.mktemp("server"))
    yield found
    found.stop()


@pytest.fixture
def proxy(server):
    found = Proxy(server)
    yield found
    found.close()


class Scripted:
    """A search with its view, whose trials are threads' sleep away from real: a validation every :data:`BETWEEN` seconds."""

    def __init__(self, path, glyphs, data_root, uri, monkeypatch):
        path.mkdir()
        monkeypatch.setattr(tracking, "SECONDS_BETWEEN_SYNCS", 0.5)
        settings = settings_for(
            glyphs,
            data_root,
            search__trials=SEARCH_TRIALS,
            training__eval_every=2,
            search__pruner="none",
            search__sampler="random",
        )
        self.folder = SearchFolder(path)
        settings = settings.model_copy(update={"study": settings.id})
        settings.save(self.folder)
        self.driver, self.said = drive(self.folder, settings), []
        self.settings = settings
        records = RecordReader(self.folder, settings).records
        self.view = MlflowView(
            uri, search_run(self.folder, settings), glyphs, records, warn=self.said.append, resend="sync_mlflow"
        )
        self.reports: list[float] = []

    def run(self, at=None, do=lambda: None):
        """Runs all trials; ``do`` is called when half of the validations are in. Returns the seconds it took."""
        training = self.driver.config.training
        began, running = time.monotonic(), {}
        self.view.start()
        while True:
            while len(running) < AT_ONCE and (number := self.driver.next_trial()) is not None:
                running[number] = time.monotonic()
            if not running:
                break
            number = min(running, key=running.get)
            time.sleep(max(0.0, running[number] + BETWEEN - time.monotonic()))
            progress = validate(self.folder, number, training.eval_every, training.iterations)
            reported = time.monotonic()
            self.driver.report(number)
            self.reports.append(time.monotonic() - reported)
            running[number] = time.monotonic()
            if progress.iteration == training.iterations:
                del running[number]
                self.driver.finish(number, "finished")
            if len(self.reports) == at:
                self.meddler = threading.Thread(target=do, daemon=True)
                self.meddler.start()
        return time.monotonic() - began

    def check(self, uri):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(f"datg/{self.settings.config.dataset}")
        runs = client.search_runs(
            [experiment.experiment_id], filter_string=f"tags.`mlflow.datg.id` = '{self.settings.id}'", max_results=500
        )
        children = [run for run in runs if "trial" in run.data.tags]
        assert sorted(int(run.data.tags["trial"]) for run in children) == list(range(SEARCH_TRIALS))
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in children:
            points = [point.step for point in client.get_metric_history(run.info.run_id, "objective")]
            assert sorted(points) == list(range(2, 41, 2)), "every point is there once"


MOODS = ("slow", "500", "401", "away")


def measure(server, proxy, mood, search):
    """Runs a search under a mood; the seconds it took, and the 99th percentile of a report's."""
    proxy.mood, proxy.slow = mood, 2.0
    seconds = search.run()
    proxy.mood = "well"
    assert search.view.close(status="FINISHED") is None, search.said
    search.check(server.uri)
    assert len(search.said) == (0 if mood in ("well", "slow") else 2), search.said
    return seconds, statistics.quantiles(search.reports, n=100)[98]


@pytest.mark.alone
def test_a_misbehaving_server_costs_nothing_and_gets_all_in_the_end(
    server, proxy, glyphs, data_root, tmp_path, monkeypatch
):
    seconds, slowest = {}, {}
    for attempt in range(4):  # the machine may be busy with something else, which only ever adds
        for mood in ("first", "well", *MOODS):  # the first one imports mlflow
            uri = proxy.uri if mood in MOODS else server.uri
            search = Scripted(tmp_path / f"{mood} {attempt}", glyphs, data_root, uri, monkeypatch)
            took, report = measure(server, proxy, "well" if mood == "first" else mood, search)
            seconds[mood] = min(took, seconds.get(mood, took))
            slowest[mood] = min(report, slowest.get(mood, report))
        lost = {mood: seconds[mood] / seconds["well"] - 1 for mood in MOODS}
        print("\nloss of throughput:", {mood: f"{share:+.1%}" for mood, share in lost.items()})
        print("a report takes, 99th percentile:", {mood: f"{1000 * value:.0f} ms" for mood, value in slowest.items()})
        if max(lost.values()) < 0.05 and max(slowest[mood] for mood in ("well", *MOODS)) < 0.05:
            return
    pytest.fail(f"{lost} {slowest}")


def test_a_run_and_an_experiment_that_somebody_deletes_come_back(server, glyphs, data_root, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server.uri)
    for what in ("run", "experiment"):
        search = Scripted(tmp_path / what, glyphs, data_root, server.uri, monkeypatch)

        def delete(what=what, search=search):
            experiment = client.get_experiment_by_name("datg/glyphs").experiment_id
            if what == "experiment":
                client.delete_experiment(experiment)
                return
            for run in client.search_runs(
                [experiment], filter_string=f"tags.`mlflow.datg.id` = '{search.settings.id}'", max_results=3
            ):
                client.delete_run(run.info.run_id)

        search.run(at=80, do=delete)
        search.meddler.join()
        assert search.view.close(status="FINISHED") is None, search.said
        search.check(server.uri)


def test_a_run_that_a_slow_server_made_twice_is_one_in_the_end(server, glyphs, data_root, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    create, doubled = MlflowClient.create_run, []

    def late(self, experiment, **options):
        run = create(self, experiment, **options)
        if len(doubled) < 3:
            doubled.append(run.info.run_id)
            raise ConnectionError("no answer in time")
        return run

    monkeypatch.setattr(MlflowClient, "create_run", late)
    search = Scripted(tmp_path / "twice", glyphs, data_root, server.uri, monkeypatch)
    search.run()
    assert search.view.close(status="FINISHED") is None, search.said
    search.check(server.uri)


def test_a_database_that_is_locked_for_half_a_minute(glyphs, data_root, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    search = Scripted(tmp_path / "locked", glyphs, data_root, uri, monkeypatch)

    def lock():
        connection = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(30)
        connection.execute("ROLLBACK")
        connection.close()

    seconds = search.run(at=40, do=lock)
    assert seconds < 30, "the search did not wait"
    assert search.view.close(status="FINISHED") is None, search.said
    search.check(uri)


def test_a_process_killed_while_it_makes_the_tables_leaves_nothing_half_made(tmp_path):
    from mlflow import MlflowClient

    file, new, chance = tmp_path / "mlflow.db", tmp_path / "mlflow.db.new", random.Random(3)
    uri = f"sqlite:///{file}"
    program = f"from datg.tracking.database import whole_database as whole\nwith whole({uri!r}): print('made')"
    steps_made = []
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as process:
            began = time.time()
            while not (new.exists() and new.stat().st_mtime > began and new.stat().st_size):
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.6))
            process.kill()
        if file.exists():
            break
        steps_made.append(new.stat().st_size)
    assert any(steps_made), "no kill came in time"
    with whole_database(uri):
        assert [experiment.name for experiment in MlflowClient(uri).search_experiments()] == ["Default"]
    assert not list(tmp_path.glob("*.new*"))


def test_a_server_that_never_comes_back_is_told_and_sent_to_later(place_with, server):
    place = place_with("here", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    said = place.run("search", *SMALL, *steps(20, 10), "--trials", 2)
    assert "MLflow lacks" in said and f"python launchers/sync_mlflow.py {place.folder.name}" in said
    check_whole(place.folder, 2)
    assert "does not take the results" in place.run("sync_mlflow", place.folder.name, code=75)
    assert "of 2 trials" in place.run("status", place.folder.name)
    place.run("sync_mlflow", place.folder.name, "--tracking-uri", server.uri)
    check_mlflow(server.uri, place.folder)
    assert "MLflow: has everything" in place.run("status", place.folder.name)
