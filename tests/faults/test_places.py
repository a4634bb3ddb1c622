"""Disks that fill up or cannot be written, several drivers at once, and a machine without a network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datg.search.state.folder import SearchFolder
from datg.trial.folder import read_reports
from tests.faults.network_sandbox import packets_that_tried_to_leave
from tests.faults.searches import (
    ROOT,
    SMALL,
    Place,
    check_mlflow,
    check_whole,
    kill,
    needs_machines,
    steps,
    until,
    worker_of,
)

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TINY = [*SMALL, *steps(20, 10), "--trials", 2]


@pytest.fixture
def mounted(tmp_path):
    """Mounts small file systems; ``mounted(name, options)`` gives the path."""
    paths = []

    def mount(name, options):
        path = tmp_path / name
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
        paths.append(path)
        return path

    yield mount
    for path in paths:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_project_that_is_moved_while_a_search_is_stopped_goes_on_as_if_it_had_not_been(place, data_root):
    del place.environment["DATG_DATA"]
    shutil.copytree(data_root / "glyphs", place.path / "data" / "glyphs")
    options = [*SMALL, *steps(160, 40), "--trials", 1, "--pruner", "none", "--strategy", "inter_cluster"]
    options += ["--set", "strategy.cluster_features=embedding"]
    process = place.start("search", *options)
    until(lambda: place.folder and read_reports(place.folder.trial(0)))
    process.send_signal(signal.SIGTERM)
    place.wait(process, 75, timeout=60)
    before, old = read_reports(place.folder.trial(0)), place.path
    place.path = old.rename(old.with_name("another place"))
    name = place.folder.name
    assert len(before) < 4
    place.run("search", "--resume", name)
    assert read_reports(place.folder.trial(0))[: len(before)] == before, "it went on from its checkpoint"
    check_whole(place.folder, 1, steps=[40, 80, 120, 160])
    check_mlflow(place.tracking, place.folder)
    assert "the same to the bit" in place.run("replay", name, 0)
    assert "MLflow has everything" in place.run("sync_mlflow", name)
    place.run("export", name, "--top", 1, "--out", "configs")
    options = ["--seeds", 1, "--set", "training.iterations=20", "--set", "training.eval_every=10"]
    place.run("train", f"configs/{name}-top1.yaml", *options, "--set", "evaluation.test_tasks=50")
    best = place.path / "runs" / name / "best.yaml"
    assert best.read_text().startswith(f"# python launchers/train.py runs/{name}/best.yaml")
    assert not old.exists(), "nobody writes where it was"


@needs_machines
def test_a_disk_that_fills_up_stops_a_search_and_room_lets_it_go_on(place, mounted):
    disk = mounted("disk", "size=20m")
    many = [*SMALL, *steps(20, 10), "--trials", 400, "--output", disk]
    refused = place.run("search", *many, code=2)
    assert "free and this search needs up to" in refused and str(disk) in refused and not list(disk.iterdir())
    options = [*SMALL, *steps(3000, 10), "--trials", 2, "--pruner", "none", "--output", disk]
    process = place.start("search", *options)
    until(lambda: len(list(disk.glob("*/trials/*/best.safetensors"))) == 2)
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            try:
                ballast.write(b"x" * 4096)
            except OSError:
                break
    place.wait(process, 75)
    said = place.said(process)
    assert "cannot be written" in said and "go on with" in said and "Traceback" not in said
    (folder,) = (path for path in disk.iterdir() if path.is_dir())
    for path in folder.glob("trials/*/*"):
        assert path.suffix != ".json" or json.loads(path.read_text()), f"{path} is half a file"
    (disk / "ballast").unlink()

    def done():
        return sum(len(path.read_text().splitlines()) for path in folder.glob("trials/*/progress.jsonl"))

    before = done()
    process = place.start("search", "--resume", folder.name, "--output", disk)
    until(lambda: done() > before)
    process.send_signal(signal.SIGTERM)
    place.wait(process, 75)
    assert "stopped" in place.run("status", folder.name, "--output", disk)


@needs_machines
def test_folders_that_cannot_be_written_are_named_and_home_is_not_needed(place_with, mounted):
    sealed = mounted("sealed", "ro")
    place = place_with("here", HOME=str(sealed))
    assert f"`--output` {sealed}" in place.run("search", *TINY, "--output", sealed, code=2)
    said = place.run("search", *TINY)
    check_whole(place.folder, 2)
    check_mlflow(place.tracking, place.folder)
    assert "Read-only" not in said and "Permission" not in said


def test_a_second_driver_is_turned_away_and_a_dead_one_replaced(place):
    process = place.start("search", *SMALL, *steps(3000, 10), "--trials", 2, "--pruner", "none")
    until(lambda: place.folder and worker_of(place, 0))
    times = []
    for _ in range(3):
        began = time.monotonic()
        said = place.run("search", "--resume", place.folder.name, code=2)
        times.append(time.monotonic() - began)
    assert f"already driven by process {process.pid} on {os.uname().nodename}" in said
    assert min(times) < 2, "at once"
    status = json.loads(place.run("status", place.folder.name, "--json"))
    assert status["driver"].startswith(f"process {process.pid}") and status["resume"] is None
    assert {trial["trial"] for trial in status["running"]} == {0, 1}
    kill(process)
    status = json.loads(place.run("status", place.folder.name, "--json"))
    assert status["driver"] == "" and f"--resume {place.folder.name}" in status["resume"]
    place.run("search", "--resume", place.folder.name, "--time-budget", 1, code=75)


def test_four_searches_begin_at_once_on_an_empty_tracking_database(place):
    with ThreadPoolExecutor(4) as pool:
        started = [
            place.start("search", *TINY, "--trials", 1, "--max-concurrent", 1, "--seed", seed) for seed in range(4)
        ]
        list(pool.map(lambda process: place.wait(process, 0, timeout=400), started))
    folders = sorted((place.path / "runs").iterdir())
    assert len(folders) == 4
    for path in folders:
        check_mlflow(place.tracking, SearchFolder(path))


@needs_machines
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_search_needs_no_network_and_tries_none(tmp_path, data_root):
    """In a namespace whose only way out leads nowhere and is counted."""
    if subprocess.run(["make", "--question", "install"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("`make install` has something to do, and wants the network for that")
    place = Place(tmp_path, data_root)
    arguments = " ".join(
        [*steps(20, 10), "--trials", "2", "--output", f"{tmp_path}/runs", "--tracking-uri", place.tracking]
    )
    found, packets = packets_that_tried_to_leave(
        ["make", "search", f"ARGS={arguments}"], cwd=ROOT, env=place.environment
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert packets == 0
    check_whole(place.folder, 2)
    _, proof = packets_that_tried_to_leave([sys.executable, "-c", SEND], cwd=ROOT, env=place.environment)
    assert proof > 0, "what leaves is counted"


SEND = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))"
