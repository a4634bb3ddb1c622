"""kill -9 of the driver at random moments: the search goes on where it was, and nothing is lost or done twice."""

import random
import time

import pytest

from datg.records import OUTCOME
from tests.faults.searches import SMALL, check_mlflow, check_whole, kill, steps, until, validations

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
KILLS, TRIALS = 20, 14
LENGTH = steps(120, 10)


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


def test_twenty_kills_lose_nothing(place):
    chance = random.Random(5)
    arguments = [*SMALL, *LENGTH, "--trials", TRIALS]
    finished_before: dict[str, bytes] = {}
    lost: list[str] = []
    for number in range(KILLS):
        begun = list(place.path.glob("runs/*/search.yaml"))
        process = place.start("search", *(["--resume", begun[0].parent.name] if begun else arguments))
        moment = MOMENTS[number % len(MOMENTS)]
        before, then = validations(place), progress(place)[moment]
        if moment != "start":
            until(lambda m=moment, n=then, p=process: progress(place)[m] > n or p.poll() is not None)
        time.sleep(chance.uniform(0, 8.0 if moment == "start" else 0.3))
        assert process.poll() is None, f"the search ended after {number} kills: {place.said(process)}"
        kill(process)
        saved = {key: [entry.time for entry in history] for key, history in before.items()}
        for trial, history in validations(place).items():
            times = [entry.time for entry in history]
            if times[: len(saved.get(trial, []))] != saved.get(trial, []):
                lost.append(f"kill {number}: trial {trial} did again what had been saved")
        for path in place.path.glob(f"runs/*/trials/*/{OUTCOME}"):
            content = (path.parent / "progress.jsonl").read_bytes()
            if finished_before.setdefault(path.parent.name, content) != content:
                lost.append(f"kill {number}: trial {path.parent.name} had ended and was run again")
    place.run("search", "--resume", place.folder.name, timeout=600)
    for path in place.path.glob(f"runs/*/trials/*/{OUTCOME}"):
        if (
            path.parent.name in finished_before
            and (path.parent / "progress.jsonl").read_bytes() != finished_before[path.parent.name]
        ):
            lost.append(f"trial {path.parent.name} had ended and was run again")
    assert lost == []
    outcomes = check_whole(place.folder, TRIALS, steps=list(range(10, 121, 10)))
    assert set(outcomes) <= {"finished", "collapsed", "pruned"} and outcomes.total() == TRIALS
    check_mlflow(place.tracking, place.folder)
