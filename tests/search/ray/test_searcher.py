"""What is handed to Tune, and what becomes of tries that break; why a process is no more, from texts as Ray 2.60 writes them."""

import pytest

from datg.runtime.signals import StopRequest
from datg.search.ray.resources import Allocation, Resources, TrialResources
from datg.search.ray.retries import Retries
from datg.search.ray.searcher import StudySearcher, explain_failure
from datg.search.ray.stop_notice import StopNotice
from datg.search.ray.supervisor import SearchSupervisor
from datg.search.ray.watchdog import Watchdog
from datg.search.ray.worker import CAUSE, NODE
from datg.trial.folder import EVALUATION, FRESH_VALIDATION
from datg.trial.records import read_outcome
from tests.search.conftest import settings_for
from tests.search.study.test_driver import start

KILLED = """Failure # 1 (occurred at 2026-11-25_20-56-14)
The actor died unexpectedly before finishing this task.
\tclass_name: with_resources.<locals>.ResourceTrainable
\tpid: 11834
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly \
exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer \
due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV.
"""
EXITED = """Failure # 2 (occurred at 2026-11-25_20-56-28)
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits \
unexpectedly. Worker exits with an exit code 3.
"""
NODE_DIED = """Failure # 3 (occurred at 2026-11-25_20-56-28)
The actor died unexpectedly before finishing this task.
\tnamespace: e09914ec
The actor died because its node has died. Node Id: 53d1
"""
PACKAGE = """Failure # 1 (occurred at 2026-11-25_20-56-14)
The actor died because of an error raised in its creation task, \x1b[36mray::ResourceTrainable.__init__()\x1b[39m (pid=11835)
  File "trainable.py", line 151, in __init__
    self.setup(copy.deepcopy(self.config))
ModuleNotFoundError: No module named 'optional_package'
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "its process died, cause unknown"),
        (KILLED, "its process died (Ray: Worker unexpectedly exits with a connection error code 2. End of file.)"),
        (EXITED, "its process died (Ray: Worker exits unexpectedly. Worker exits with an exit code 3.)"),
        (NODE_DIED, "its process died (Ray: The actor died because its node has died. Node Id: 53d1)"),
        (PACKAGE, "its process failed: ModuleNotFoundError: No module named 'optional_package'"),
        (PACKAGE + EXITED, "its process died (Ray: Worker exits unexpectedly. Worker exits with an exit code 3.)"),
    ],
)
def test_a_cause_is_what_ray_knows_and_never_a_guess(text, cause):
    assert explain_failure(text) == cause


class Search:
    """A real driver between a searcher and a stop request; Tune's part is played by the test."""

    def __init__(self, folder, settings, most):
        self.driver, self.stop, self.ended = start(folder, settings), StopRequest(), []
        supervisor = SearchSupervisor(
            self.driver, self.stop, StopNotice(folder.stop, cluster=False), Watchdog(None, list)
        )
        self.avoided = []
        self.allocation, self.nodes = Allocation(TrialResources(1, 0.5), 2, 2, 2, Resources()), self  # of a capacity
        self.searcher = StudySearcher(self.driver, supervisor, Retries(most), self.ended.append, self)

    def avoiding(self, others):
        self.avoided.append(set(others))
        return {}

    def break_one(self, number, *, node="", cause=""):
        """A try of trial ``number`` that breaks, by its machine or with an error of its own."""
        asked = self.searcher.suggest(f"try {number}")
        assert asked["number"] == number
        folder = self.driver.folder.trial(number)
        for name, text in ((NODE, node), (CAUSE, cause)):
            if text:
                (folder / name).write_text(text)
        self.searcher.on_trial_complete(f"try {number}", error=True)


@pytest.fixture
def alone(glyphs, data_root):
    return settings_for(glyphs, data_root, search__trials=1)


def test_what_its_machine_broke_is_tried_on_another_node_and_in_the_end_set_aside(folder, alone, monkeypatch):
    search = Search(folder, alone, most=2)
    monkeypatch.setattr("datg.search.study.driver.time.monotonic", lambda: now[0])
    now = [1000.0]
    for node, wait in (("a", 2.0), ("b", 10.0), ("c", 0.0)):
        search.break_one(0, node=node)
        if wait:
            assert search.searcher.suggest("next") is None, "it waits"
            now[0] += wait
    assert search.avoided == [set(), {"a"}, {"a", "b"}]
    assert search.ended == [] and search.driver.ended == [], "no evaluation of what has not ended"
    assert search.searcher.suggest("next") == "FINISHED"
    assert read_outcome(folder.trial(0)).outcome == "failed" and not read_outcome(folder.trial(0)).final


def test_an_error_of_an_earlier_try_is_not_the_cause_of_a_later_one(folder, alone, monkeypatch):
    search = Search(folder, alone, most=1)
    monkeypatch.setattr("datg.search.study.driver.time.monotonic", lambda: now[0])
    now = [1000.0]
    search.break_one(0, cause="RuntimeError: transient")
    now[0] += 2.0
    search.break_one(0)
    assert read_outcome(folder.trial(0)).outcome == "failed"


def test_a_stop_while_all_wait_ends_tune_at_once(folder, alone):
    search = Search(folder, alone, most=3)
    search.break_one(0)
    assert search.searcher.suggest("next") is None
    search.stop.ask("Ctrl-C")
    assert search.searcher.suggest("next") == "FINISHED"
    assert start(folder, alone).next_trial() == 0, "the next driver goes on with it"


def test_a_trial_that_goes_on_loses_the_evaluation_of_its_earlier_weights(folder, alone):
    search = Search(folder, alone, most=0)
    search.break_one(0)
    for name in (EVALUATION, FRESH_VALIDATION):
        (folder.trial(0) / name).write_bytes(b"of other weights")
    assert start(folder, alone).next_trial() == 0
    assert not (folder.trial(0) / EVALUATION).exists() and not (folder.trial(0) / FRESH_VALIDATION).exists()


def test_no_more_are_handed_out_than_the_cluster_has_room_for_now(folder, glyphs, data_root):
    search = Search(folder, settings_for(glyphs, data_root, search__trials=20), most=2)
    assert search.searcher.suggest("a")["number"] == 0
    first = search.searcher.suggest("b")
    assert (first["resources"]["cpus"], first["resources"]["gpus"]) == (1, 0.5)
    assert search.searcher.suggest("c") is None, "two fit"
    search.allocation = Allocation(TrialResources(2, 1.0), 3, 3, 3, Resources())  # a node has joined
    joined = search.searcher.suggest("d")
    assert (joined["number"], joined["resources"]["cpus"], joined["resources"]["gpus"]) == (2, 2, 1.0)
    assert search.searcher.suggest("e") is None
    search.allocation = Allocation(TrialResources(2, 1.0), 0, 0, 0, Resources())  # all are gone
    for trial in ("a", "b", "d"):
        search.searcher.on_trial_complete(trial, {"outcome": "collapsed", "iteration": 0})
    assert not search.driver.unsettled and search.searcher.suggest("f") is None, (
        "seventeen are missing, and nodes may come"
    )


def test_a_search_whose_trials_have_all_ended_is_over_although_no_node_is_left(folder, alone):
    search = Search(folder, alone, most=2)
    assert search.searcher.suggest("a")["number"] == 0
    search.allocation = Allocation(TrialResources(1, 0.0), 0, 0, 0, Resources())
    assert search.searcher.suggest("b") is None
    search.searcher.on_trial_complete("a", {"outcome": "error", "error": "it is wrong", "iteration": 0})
    assert search.searcher.suggest("c") == "FINISHED"
