"""A project's folder that is moved or copied: MLflow finds artifacts where they lie, and nobody writes into the old place."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from datg.tracking.moved import local_path
from tests.tracking.test_view import client_of, folders, records_of, runs_of, view_of  # noqa: F401 (a fixture)

pytestmark = pytest.mark.filterwarnings("ignore")


# In a process of its own, because MLflow remembers places as long as a process lives.
SYNC = """
import sys
from pathlib import Path
from tests.tracking.test_view import records_of, view_of
view_of(Path(sys.argv[1]), lambda: records_of(Path(sys.argv[2]))).sync()
"""


def artifacts(place: Path) -> set[str]:
    """What MLflow shows of trial 0, all of which must be below ``place``."""
    _, runs, _ = runs_of(place)
    assert all(run.info.artifact_uri.startswith(place.as_uri()) for run in runs.values())
    return {path.name for path in local_path(runs["0"].info.artifact_uri).iterdir()}


@pytest.fixture
def project(tmp_path, folders):  # noqa: F811
    (tmp_path / "old").mkdir()
    subprocess.run([sys.executable, "-c", SYNC, tmp_path / "old", folders], check=True)
    return tmp_path / "old"


def test_moved(project, folders):  # noqa: F811
    shown, new, said = artifacts(project), project.with_name("new place"), []
    client = client_of(project)
    experiment = client.get_experiment_by_name("datg/random").experiment_id
    logged = client.create_logged_model(experiment, name="model").artifact_location
    client.create_registered_model("datg-random")
    client.create_model_version("datg-random", logged)
    project.rename(new)
    view_of(new, lambda: records_of(folders), warnings=said).sync()
    assert artifacts(new) == shown and not project.exists()
    assert len(said) == 1 and "came from another folder" in said[0]
    with contextlib.closing(sqlite3.connect(new / "mlflow.db")) as connection:
        (place,) = connection.execute("SELECT artifact_location FROM logged_models").fetchone()
        (source,) = connection.execute("SELECT source FROM model_versions").fetchone()
    assert place == source == logged.replace(project.as_uri(), new.as_uri()) != logged
    view_of(new, lambda: records_of(folders), warnings=said).sync()
    assert len(said) == 1


def test_copied(project, folders):  # noqa: F811
    shown, new = artifacts(project), project.with_name("copy")
    shutil.copytree(project, new)
    before = sorted(path for path in project.rglob("*"))
    view_of(new, lambda: records_of(folders)).sync()
    assert artifacts(new) == shown and artifacts(project) == shown
    assert sorted(path for path in project.rglob("*")) == before


@pytest.mark.slow
def test_moved_without_its_artifacts_they_are_sent_again(project, folders):  # noqa: F811
    shown, new = artifacts(project), project.with_name("new")
    project.rename(new)
    shutil.rmtree(new / "mlartifacts")
    view_of(new, lambda: records_of(folders)).sync()
    assert artifacts(new) == shown and not project.exists()


def test_an_experiment_that_somebody_keeps_elsewhere_stays_there(tmp_path, folders):  # noqa: F811
    (tmp_path / "place").mkdir()
    with_tables = view_of(tmp_path / "place", list)
    with_tables.sync()
    client, elsewhere = client_of(tmp_path / "place"), tmp_path / "on another disk"
    client.rename_experiment(client.get_experiment_by_name("datg/random").experiment_id, "mine")
    client.create_experiment("datg/random", elsewhere.as_uri())
    view_of(tmp_path / "place", lambda: records_of(folders), identity="4567").sync()
    assert list(elsewhere.rglob("config.yaml"))


@pytest.mark.slow
def test_another_path_to_the_same_place_is_no_move(project, folders, tmp_path):  # noqa: F811
    (tmp_path / "link").symlink_to(project)
    said = []
    view_of(tmp_path / "link", lambda: records_of(folders), warnings=said).sync()
    assert said == [] and artifacts(project)
