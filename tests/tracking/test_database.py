import contextlib
import errno
import gc
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from datg.errors import ConfigError
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


EARLY = "acf3f17fdcc7"  # revision of the tables of an MLflow 2


def of_revision(file: Path, revision: str) -> None:
    """Makes an MLflow database with the tables of another version, and one experiment in it."""
    from alembic import command
    from alembic.config import Config
    from mlflow import store
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "db_migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{file}")
    engine = create_engine(f"sqlite:///{file}")
    Base.metadata.create_all(engine)
    engine.dispose()
    command.upgrade(config, revision)
    gc.collect()  # whatever else holds the file open would be named as its user
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES ('mine', 'a', 'active')"
        )


def rows(file: Path) -> tuple[str, list]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return revision, connection.execute("SELECT name FROM experiments").fetchall()


@pytest.fixture
def older(tmp_path):
    file = tmp_path / "mlflow.db"
    of_revision(file, EARLY)
    return file


@pytest.mark.filterwarnings("ignore")
def test_an_older_database_is_kept_and_a_copy_of_it_brought_up_to_date(older):
    before, said = older.read_bytes(), []
    with whole_database(f"sqlite:///{older}", said.append):
        revision, experiments = rows(older)
    assert revision != EARLY and experiments == [("mine",)]
    (kept,) = older.parent.glob("mlflow.db.before-mlflow-*")
    assert kept.read_bytes() == before, "to the byte"
    assert len(said) == 1 and kept.name in said[0]
    with whole_database(f"sqlite:///{older}", said.append):
        assert len(said) == 1, "once"
    assert {path.name for path in older.parent.iterdir()} == {"mlflow.db", "mlflow.db.lock", kept.name}


@pytest.mark.filterwarnings("ignore")
def test_one_that_is_open_elsewhere_is_left_alone_and_the_other_process_named(older):
    before = older.read_bytes()
    program = f"import sys; file = open({str(older)!r}); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(ConfigError, match=f"open in process {process.pid} "), whole_database(f"sqlite:///{older}"):
            pass
        process.stdin.close()
    assert older.read_bytes() == before and not list(older.parent.glob("*before*"))


def test_one_of_a_newer_mlflow_is_refused_with_what_to_do(tmp_path):
    file = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
    before = file.read_bytes()
    with (
        pytest.raises(ConfigError, match="newer MLflow.*--tracking-uri sqlite:///"),
        whole_database(f"sqlite:///{file}"),
    ):
        pass
    assert file.read_bytes() == before


KILLED = """
import os, sys
from pathlib import Path
import datg.tracking.database as database
from tests.tracking.test_database import killed_at
killed_at(database, sys.argv[2])
with database.whole_database(f"sqlite:///{sys.argv[1]}"):
    pass
"""


def killed_at(database, moment):
    """Ends the process at a moment of the migration."""
    if moment == "the copy":
        database._make_tables = lambda new: os._exit(9)
        return
    real = {"the new tables": database._make_tables, "the link": os.link}[moment]

    def then_die(*arguments):
        real(*arguments)
        os._exit(9)

    if moment == "the link":
        os.link = then_die
    else:
        database._make_tables = then_die


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("moment", ["the copy", "the new tables", "the link"])
def test_a_migration_that_is_killed_anywhere_harms_nothing(older, moment):
    before = older.read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLED, older, moment], capture_output=True, check=False)
    assert killed.returncode == 9, killed.stderr.decode()
    assert older.read_bytes() == before
    with whole_database(f"sqlite:///{older}"):
        assert rows(older)[1] == [("mine",)]
    (kept,) = older.parent.glob("mlflow.db.before-mlflow-*")
    assert kept.read_bytes() == before


@pytest.mark.filterwarnings("ignore")
def test_behind_a_link_and_without_hard_links_it_is_the_same(older, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "project").mkdir()
    link = tmp_path / "project" / "mlflow.db"
    link.symlink_to(older)
    with whole_database(f"sqlite:///{link}"):
        assert rows(older)[0] != EARLY and link.is_symlink()
    (kept,) = older.parent.glob("mlflow.db.before-mlflow-*")
    assert rows(kept)[0] == EARLY
