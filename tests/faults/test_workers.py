"""Workers that die, hang or compute nonsense: told rightly, tried again if a machine broke them, and no harm to the others."""

import json

import pytest

from datg.trial.folder import read_reports
from tests.faults.fault_injection import environment_for
from tests.faults.searches import SMALL, check_mlflow, check_whole, steps, trials_of

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ALWAYS = 99
HANGS = 30  # seconds without an iteration that a trial beside other tests does not take, and one that hangs does
FAULTS = {  # trial: fault, how often; outcome, state in the study, tries, part of the reason
    1: ("sigkill", 1, "finished", "COMPLETE", 2, ""),
    2: ("segfault", 1, "finished", "COMPLETE", 2, ""),
    3: ("exception", ALWAYS, "error", "PRUNED", 3, "RuntimeError: a wrong shape"),
    4: ("exit", 1, "finished", "COMPLETE", 2, ""),
    5: ("cuda memory", ALWAYS, "error", "PRUNED", 3, "OutOfMemoryError: CUDA out of memory"),
    6: ("host memory", 2, "finished", "COMPLETE", 3, ""),
    7: ("stop", 1, "finished", "COMPLETE", 2, ""),
    8: ("nan", 1, "diverged", "PRUNED", 1, "was nan"),
    9: ("sigkill", ALWAYS, "failed", "RUNNING", 3, "its process died (Ray: Worker unexpectedly exits"),
    10: ("hang", 1, "finished", "COMPLETE", 2, ""),
}


def test_every_fault_of_a_worker_has_its_outcome(place_with, tmp_path):
    plan = {number: (fault, often) for number, (fault, often, *_) in FAULTS.items()}
    place = place_with(**environment_for(tmp_path / "faults", plan))
    trials = [*SMALL, *steps(40, 10), "--trials", len(FAULTS) + 1, "--pruner", "none", "--sampler", "random"]
    options = ["--trial-timeout", HANGS, "--max-failures", 2]
    said = place.run("search", *trials, *options, code=75, timeout=600)
    folder = place.folder
    for trial in trials_of(folder)[1:]:
        fault, _, outcome, state, tries, reason = FAULTS[trial.number]
        attempts = len((folder.trial(trial.number) / "attempts").read_text())
        found = (trial.user_attrs["outcome"].replace("collapsed", "finished"), trial.state.name, attempts)
        assert found == (outcome, state, tries), (fault, found)
        assert reason in trial.user_attrs.get("error", ""), fault
        infeasible = outcome in ("error", "diverged")
        assert (trial.constraints.get("broken", 0.0) > 0) == infeasible, fault
        first = read_reports(folder.trial(trial.number))[:1]
        assert [entry.iteration for entry in first] == [10], "it went on from its checkpoint"
    check_mlflow(place.tracking, folder, status="KILLED")
    assert len((folder.trial(0) / "attempts").read_text()) == 1, "the others were not disturbed"
    assert "1 x failed: its process died" in said and "1 x error: RuntimeError: a wrong shape (trial 3)" in said
    assert (
        "best configuration" in said and "is not lost; try it again with: python launchers/search.py --resume" in said
    )
    place.environment = {**place.environment, **environment_for(tmp_path / "repaired", {})}
    place.run("search", "--resume", folder.name)
    assert check_whole(folder, len(FAULTS) + 1)["failed"] == 0
    check_mlflow(place.tracking, folder)
    assert [entry.iteration for entry in read_reports(folder.trial(9))][:1] == [10], "it went on from its checkpoint"


def test_a_search_in_which_nothing_works_gives_up_and_says_why(place_with, tmp_path):
    place = place_with(**environment_for(tmp_path / "faults", dict.fromkeys(range(40), ("exception", ALWAYS))))
    options = ["--trials", 14, "--max-failures", 0, "--pruner", "none", "--sampler", "random"]
    said = place.run("search", *SMALL, *steps(20, 10), *options, code=3, timeout=600)
    states = [trial.state.name for trial in trials_of(place.folder)]
    assert 7 <= len([state for state in states if state != "RUNNING"]) <= 9, states
    assert "the last 7 trials failed" in said and "x error: RuntimeError: a wrong shape (trial 0, 1," in said
    place.environment["FAULT_PLAN"] = str(tmp_path / "none.json")
    (tmp_path / "none.json").write_text(json.dumps({}))
    place.run("search", "--resume", place.folder.name)
    outcomes = check_whole(place.folder, 14)
    assert 7 <= outcomes["error"] <= 9 and outcomes["finished"] + outcomes["collapsed"] == 14 - outcomes["error"]
