"""A search that runs is asked for a trial of a user's own, and to stop others."""

import json

import pytest

from datg.storage.files import read_yaml
from datg.trial.folder import CONFIG
from datg.trial.records import OUTCOME, read_outcome
from tests.faults.searches import SMALL, check_mlflow, check_whole, steps, trials_of, until, worker_of

pytestmark = [pytest.mark.fault, pytest.mark.slow]


def test_a_running_search_takes_a_trial_and_stops_others(place):
    driver = place.start("search", *SMALL, *steps(100_000, 20), "--trials", 3, "--max-concurrent", 2)
    until(lambda: worker_of(place, 0) and worker_of(place, 1))
    name = place.folder.name
    assert "to begin as soon as a trial ends" in place.run("enqueue", name, "strategy.alpha=0.7")
    assert "make room" in place.run("enqueue", name, "strategy.alpha=0.8", code=2)
    told = json.loads(place.run("stop_trial", name, 1, "--json"))
    assert told["answer"] == "trial 1 is stopped"
    until(lambda: (place.folder.trial(1) / OUTCOME).exists(), timeout=30)
    ended = read_outcome(place.folder.trial(1))
    assert ended.outcome == "pruned" and "a user asked for it" in ended.error
    until(lambda: worker_of(place, 2), timeout=60)
    assert read_yaml(place.folder.trial(2) / CONFIG)["strategy"]["alpha"] == 0.7
    assert "has ended already: pruned" in place.run("stop_trial", name, 1, code=2)
    assert "has no trial 9" in place.run("stop_trial", name, 9, code=2)
    for number in (0, 2):
        assert f"trial {number} is stopped" in place.run("stop_trial", name, number)
    assert driver.wait(90) == 3, place.said(driver)  # nothing was trained to its end
    check_whole(place.folder, 3)
    check_mlflow(place.tracking, place.folder, status="FAILED")
    assert [trial.user_attrs["outcome"] for trial in trials_of(place.folder)] == ["pruned"] * 3
