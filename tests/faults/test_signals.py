"""Ctrl-C, SIGTERM and SIGUSR1 in every phase of a search: it saves, says how to go on, and ends within 30 seconds."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from datg.storage.checkpoint import load_checkpoint
from datg.storage.lease import TRIAL_LEASE, last_heartbeat
from tests.faults.searches import SMALL, check_mlflow, check_whole, steps, until, worker_of

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
EVERY, ITERATIONS = 200, 400
CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75}


def stopped(place, process, number):
    """Sends the signal; the search must end in time with its code. Returns what it said."""
    began = time.monotonic()
    process.send_signal(number)
    place.wait(process, CODES[number], timeout=30)
    assert time.monotonic() - began < 30
    return place.said(process)


def saved_at(place):
    """Iterations of the trials' last checkpoints."""
    paths = place.path.glob("runs/*/trials/*/last.safetensors")
    return {int(path.parent.name): int(load_checkpoint(path)[0]["iteration"]) for path in paths}


@pytest.mark.parametrize("number", list(CODES))
def test_running_trials_are_saved_in_the_middle_of_an_interval(place, number):
    process = place.start("search", *SMALL, *steps(ITERATIONS, EVERY), "--trials", 3, "--pruner", "none")
    until(lambda: place.folder and worker_of(place, 0))
    first = until(lambda: last_heartbeat(place.folder.trial(0) / TRIAL_LEASE))
    until(lambda: last_heartbeat(place.folder.trial(0) / TRIAL_LEASE) > first)  # it computes
    time.sleep(1.3)
    said = stopped(place, process, number)
    assert f"go on with: python launchers/search.py --resume {place.folder.name}" in said
    before = saved_at(place)
    assert any(iteration % EVERY for iteration in before.values()), before
    assert not list(place.path.glob("runs/*/stop")) and not place.folder.driver.exists()
    assert "outcome" in said and "validation" in said, "its table is printed, so it has ended in order"
    if number != signal.SIGUSR1:
        return
    place.run("search", "--resume", place.folder.name)
    check_whole(place.folder, 3, steps=[EVERY, ITERATIONS])
    check_mlflow(place.tracking, place.folder)
    interrupted = next(trial for trial, iteration in before.items() if iteration % EVERY)
    assert "the same to the bit" in place.run("replay", place.folder.name, interrupted)


@pytest.mark.parametrize("phase", ["imports", "Ray"])
@pytest.mark.parametrize("number", list(CODES))
def test_while_it_starts_it_leaves_at_once_and_nothing_behind(place, number, phase):
    process = place.start("search", *SMALL, *steps(ITERATIONS, EVERY), "--trials", 2)
    if phase == "imports":
        time.sleep(1.5)
    else:
        until(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text)  # Ray's first process
    stopped(place, process, number)
    assert not list(place.path.glob("runs/*"))


def descendants(pid):
    """Processes below a process, in any order."""
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    children = [int(child) for text in texts for child in text.split()]
    return [*children, *(below for child in children for below in descendants(child))]


def test_a_signal_to_all_processes_at_once_ends_in_time_and_leaves_none(place):
    process = place.start("search", *SMALL, *steps(ITERATIONS, EVERY), "--trials", 1)
    until(lambda: place.folder and saved_at(place))
    every = descendants(process.pid)
    assert len(every) >= 3, "Ray's server, its node and a worker"
    for pid in every:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    said = stopped(place, process, signal.SIGTERM)
    assert f"stopped (SIGTERM); go on with: python launchers/search.py --resume {place.folder.name}" in said
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in every), timeout=30)
    place.run("search", "--resume", place.folder.name)
    check_whole(place.folder, 1, steps=[EVERY, ITERATIONS])


def test_final_evaluations_are_begun_again(place):
    options = [*steps(20, 10), "--trials", 1, "--final-episodes", 3_000_000]
    process = place.start("search", *SMALL, *options)
    until(lambda: list(place.path.glob("runs/*/trials/0/outcome.json")))
    time.sleep(0.5)
    said = stopped(place, process, signal.SIGTERM)
    assert "stopped (SIGTERM); go on with" in said and not list(place.path.glob("runs/*/trials/0/evaluation.parquet"))


def test_a_second_ctrl_c_leaves_at_once(place):
    process = place.start("search", *SMALL, *steps(ITERATIONS, EVERY), "--trials", 2)
    until(lambda: place.folder and worker_of(place, 0))
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) in (130, -signal.SIGINT)
    assert time.monotonic() - began < 3


def test_a_used_up_time_budget_ends_a_search_that_can_go_on_with_more_trials(place):
    nightly = [*SMALL, *steps(120, 60), "--name", "nightly"]
    said = place.run("search", *nightly, "--trials", 2, "--time-budget", 1, code=75)
    assert "stopped (the time budget is used up)" in said and place.folder.name == "nightly"
    refused = place.run("search", "--resume", place.folder.name, "--trials", 1, code=2)
    assert "`--trials` must be at least 2" in refused
    place.run("search", *nightly, "--trials", 3, "--time-budget", 300)
    check_whole(place.folder, 3)
    check_mlflow(place.tracking, place.folder)
    assert "nightly is done: nothing is left to do" in place.run("search", *nightly, "--trials", 3)
    other = place.run("search", *nightly, "--trials", 3, "--set", "training.lr=0.5", code=2)
    assert "this search has begun with other settings" in other and "training.lr" in other and "--allow-change" in other
    assert "give one of them" in place.run("search", *nightly, "--resume", "nightly", code=2)
