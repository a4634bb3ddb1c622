"""A study and an MLflow server on a real PostgreSQL: killed drivers lose nothing, and no password is written anywhere."""

import contextlib
import gc
import random
import threading
import time
from pathlib import Path

import psycopg
import pytest

from datg.errors import StateError
from datg.search.study.stored import open_study, recover_settings
from tests.faults.postgres import Postgres, find_programs
from tests.faults.searches import SMALL, check_mlflow, check_whole, kill, steps, until, validations
from tests.faults.servers import MlflowServer

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
KILLS, TRIALS = 3, 5
PASSWORD, TOKEN = "PASSWORD3c1d9f", "TOKEN77ab02"


@pytest.fixture(scope="module")
def postgres():
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    found = Postgres(programs, PASSWORD)
    yield found
    found.close()


def places_of(secret: str, folders: list[Path]) -> list[Path]:
    """The files below ``folders`` that hold the secret."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
                found.append(path)
    return found


def test_killed_drivers_on_a_database_lose_nothing_and_tell_no_secret(place_with, postgres, tmp_path):
    study, store = postgres.database("study"), postgres.database("mlflow")
    (tmp_path / "server").mkdir()
    server = MlflowServer(tmp_path / "server", store)
    place = place_with("here", MLFLOW_TRACKING_URI=server.uri, MLFLOW_TRACKING_TOKEN=TOKEN)
    began = time.time()
    try:
        chance = random.Random(1)
        refused = place.run("search", *SMALL, "--study-storage", study, code=2)
        assert "`--study-storage` must not hold a password" in refused and "export DATG_STUDY_STORAGE" in refused
        place.environment["DATG_STUDY_STORAGE"] = study
        for number in range(KILLS):
            begun = [path.parent.name for path in place.path.glob("runs/*/search.yaml")]
            new = [*SMALL, *steps(60, 10), "--trials", TRIALS]
            process = place.start("search", *(["--resume", begun[0]] if begun else new))
            command = Path(f"/proc/{process.pid}/cmdline")
            before = sum(map(len, validations(place).values()))
            until(lambda n=before, p=process: sum(map(len, validations(place).values())) > n or p.poll() is not None)
            assert process.poll() is not None or PASSWORD not in command.read_text(), "nobody may read it there"
            time.sleep(chance.uniform(0, 0.5))
            assert process.poll() is None, place.said(process)
            kill(process)
            if number == 1:
                postgres.stop()
                refused = place.run("search", "--resume", place.folder.name, code=4)
                assert "cannot be opened" in refused
                postgres.start()
        del place.environment["DATG_STUDY_STORAGE"]
        assert "name it again with --study-storage" in place.run("search", "--resume", place.folder.name, code=2)
        place.environment["DATG_STUDY_STORAGE"] = study
        place.run("search", "--resume", place.folder.name)
        check_whole(place.folder, TRIALS, storage=study)
        check_mlflow(server.uri, place.folder)
        place.run("export", place.folder.name)
        assert f"{TRIALS} of {TRIALS} trials ended" in place.run("status", place.folder.name)
    finally:
        server.stop()
    sessions = [
        path for path in Path("/tmp/ray").glob("session_2*") if path.is_dir() and path.stat().st_mtime > began - 5
    ]
    assert sessions
    for secret in (PASSWORD, TOKEN):
        assert places_of(secret, [place.path, tmp_path / "server", *sessions]) == []


def test_no_connection_is_left_to_the_garbage_collector(postgres):
    url = postgres.database("tidy")

    def elsewhere(action):
        thread = threading.Thread(target=action)
        thread.start()
        thread.join()

    with contextlib.closing(open_study(url, "a", create=True)) as stored:
        stored.remember({"a": 1})
        elsewhere(lambda: (stored.trials(), stored.release()))
    assert recover_settings(url) == {"a": 1}
    with pytest.raises(StateError, match="cannot be opened"):
        open_study(url, "b")
    with pytest.raises(ZeroDivisionError), open_study(url, "a").closed_on_error():
        1 / 0  # noqa: B018
    left = [c for c in gc.get_objects() if isinstance(c, psycopg.Connection) and not c.closed]
    assert left == []


def test_the_search_for_secrets_finds_one(tmp_path):
    (tmp_path / "log.txt").write_text(f"postgresql://u:{PASSWORD}@host")
    assert places_of(PASSWORD, [tmp_path]) == [tmp_path / "log.txt"]
