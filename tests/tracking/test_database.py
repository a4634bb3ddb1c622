import sqlite3
from pathlib import Path

import pytest

from datg.tracking.database import database_file, whole_database


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "postgresql://host/db", "sqlite:///:memory:", "sqlite:///a.db?timeout=60"]
)
def test_what_is_no_file_alone_is_left_to_mlflow(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert database_file(uri) is None
    with whole_database(uri):
        pass
    assert not list(tmp_path.iterdir())


def test_a_path_is_a_file():
    assert database_file("sqlite:////data/mlflow.db") == Path("/data/mlflow.db")


def test_a_database_that_is_there_is_not_touched(tmp_path):
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"somebody's")
    with whole_database(f"sqlite:///{file}"):
        assert file.read_bytes() == b"somebody's"


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_one_is_made_in_place_of_an_empty_file_and_of_what_killed_processes_left(tmp_path):
    file = tmp_path / "mlflow.db"
    for name in ("mlflow.db", "mlflow.db-journal", "mlflow.db.new", "mlflow.db.new-journal"):
        (tmp_path / name).touch()
    (tmp_path / "mlflow.db.new").write_bytes(b"half")
    with whole_database(f"sqlite:///{file}"):
        connection = sqlite3.connect(file)
        assert connection.execute("select count(*) from experiments").fetchone() == (0,)
        connection.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", "mlflow.db.lock"}
