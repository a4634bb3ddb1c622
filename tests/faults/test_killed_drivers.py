"""kill -9 of the driver at random moments: the search goes on where it was, and nothing is lost or done twice."""

import os
import random
import time

import pytest

from datg.trial.records import OUTCOME
from tests.faults.searches import SMALL, check_mlflow, check_whole, kill, steps, until, validations

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
KILLS = int(os.environ.get("DATG_KILLS", "5"))  # one at every moment
TRIALS = 5
DATG = ["--strategy", "datg"]  # the one that has most to keep
ITERATIONS, EVERY = 40, 5
SLOWEST = 400  # seconds to the first evaluation, which comes when no trial is left to start


def progress(place):
    """How much has happened, by the kind of moment to wait for."""
    return {
        "start": 0,
        "first files": len(list(place.path.glob("runs/*/trials/*/worker.json"))),
        "report": sum(map(len, validations(place).values())),
        "an end": len(list(place.path.glob(f"runs/*/trials/*/{OUTCOME}"))),
        "an evaluation": len(list(place.path.glob("runs/*/trials/*/evaluation.parquet"))),
    }


MOMENTS = ("report", "start", "an end", "first files", "an evaluation")


def test_kills_at_every_moment_lose_nothing(place):
    chance, trials, kills = random.Random(5), TRIALS, 0
    ended: dict[str, bytes] = {}  # what stood in the progress of trials that had ended
    lost: list[str] = []
    while kills < KILLS:
        begun = [path.parent.name for path in place.path.glob("runs/*/search.yaml")]
        given = ["--resume", *begun] if begun else [*SMALL, *DATG, *steps(ITERATIONS, EVERY)]
        process = place.start("search", *given, "--trials", trials)
        moment = MOMENTS[kills % len(MOMENTS)]
        before, then = validations(place), progress(place)[moment]
        if moment != "start":
            until(lambda m=moment, n=then, p=process: progress(place)[m] > n or p.poll() is not None, SLOWEST)
        time.sleep(chance.uniform(0, 8.0 if moment == "start" else 0.3))
        if process.poll() is not None:  # all trials are done: a fast machine needs more of them
            place.wait(process, 0)
            trials += 2
            continue
        kill(process)
        kills += 1
        lost += done_again(place, before, ended)
    place.run("search", "--resume", place.folder.name, timeout=600)
    lost += done_again(place, {}, ended)
    assert lost == []
    outcomes = check_whole(place.folder, trials, steps=list(range(EVERY, ITERATIONS + 1, EVERY)))
    assert set(outcomes) <= {"finished", "collapsed", "pruned"} and outcomes.total() == trials
    check_mlflow(place.tracking, place.folder)


def done_again(place, before, ended):
    """Trials that did again what had been saved before, and those that had ended and were run again."""
    lost = []
    for trial, history in validations(place).items():
        saved = [entry.time for entry in before.get(trial, [])]
        if [entry.time for entry in history][: len(saved)] != saved:
            lost.append(f"trial {trial} did again what had been saved")
    for path in place.path.glob(f"runs/*/trials/*/{OUTCOME}"):
        content = (path.parent / "progress.jsonl").read_bytes()
        if ended.setdefault(path.parent.name, content) != content:
            lost.append(f"trial {path.parent.name} had ended and was run again")
    return lost
