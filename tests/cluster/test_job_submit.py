"""`ray job submit` on loopback, with a token: a search is submitted, stopped, submitted again, and goes on to the end."""

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.faults.searches import SMALL, check_whole, steps, until

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.fault]
RAY, DATG = (str(Path(sys.executable).with_name(name)) for name in ("ray", "datg"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def ray_head(place):
    """Calls `ray` with the token of a head on loopback, whose job server's address it has."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets want a short path
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {**place.environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    environment["RAY_JOB_STOP_WAIT_TIME_S"] = "60"

    def ray(*arguments, **options):
        return subprocess.run(
            [RAY, *map(str, arguments)], cwd=place.path, env=environment, capture_output=True, text=True, **options
        )

    port, jobs, agent = free_port(), free_port(), free_port()
    start = [RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    start += [f"--temp-dir={folder}/r", f"--port={port}", f"--dashboard-port={jobs}"]
    start += [
        f"--dashboard-agent-listen-port={agent}"
    ]  # jobs pass it, and another Ray on this machine may have the usual one
    with (folder / "log").open("w") as log:
        head = subprocess.Popen(start, env=environment, stdout=log, stderr=log)
    try:
        ray.address = f"http://127.0.0.1:{jobs}"
        # The server answers before it can take jobs: it is ready when it has run one.
        until(lambda: ray("job", "submit", "--address", ray.address, "--", "true", timeout=120).returncode == 0)
        yield ray
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_search_is_submitted_stopped_and_submitted_again(ray_head, place):
    search = [DATG, "search", "--name", "nightly", "--address", "auto", "--output", place.path / "runs", *SMALL]
    search += [*steps(300, 20), "--trials", 2, "--pruner", "none", "--data-root", place.environment["DATG_DATA"]]

    def submit(name, *flags):
        return ray_head("job", "submit", "--address", ray_head.address, "--submission-id", name, *flags, "--", *search)

    begun = submit("first", "--no-wait")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    until(lambda: list(place.path.glob("runs/*/trials/*/progress.jsonl")))
    stopped = ray_head("job", "stop", "first", "--address", ray_head.address)
    assert "Job 'first' was stopped" in stopped.stdout
    logs = ray_head("job", "logs", "first", "--address", ray_head.address).stdout
    assert f"stopped (SIGTERM); go on with: datg search --resume {place.path / 'runs' / 'nightly'}" in logs
    again = submit("second")
    assert again.returncode == 0 and "best by validation" in again.stdout, again.stdout + again.stderr
    check_whole(place.folder, 2, steps=list(range(20, 301, 20)))
