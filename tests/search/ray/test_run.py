from types import SimpleNamespace

import pytest

from datg.search.ray import run
from datg.search.ray.resources import Resources
from datg.search.ray.run import _tell_of_slow_bf16
from datg.search.ray.spare_tasks import SpareTasks
from datg.search.state.folder import SearchFolder
from datg.trial.selection import Selection


@pytest.mark.parametrize("able", [True, False])
def test_bf16_without_units_is_told_of_this_machine(monkeypatch, able):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": able})
    said = []
    _tell_of_slow_bf16(SimpleNamespace(reports=[]), said.append)
    assert bool(said) != able and all("the processor of this machine has no units" in text for text in said)


def test_on_a_cluster_the_nodes_that_lack_them_are_named(monkeypatch):
    monkeypatch.setattr(
        "torch.cpu.get_capabilities", lambda: {"avx512_bf16": False}
    )  # of the driver, which does not count
    found = {"one": {"bf16": True}, "two": {"bf16": False}, "three": {"bf16": False}, "mute": {}}
    said = []
    reports = [SimpleNamespace(name=name, found=values) for name, values in found.items()]
    _tell_of_slow_bf16(SimpleNamespace(reports=reports), said.append)
    assert len(said) == 1 and "the processor of two, three has no units" in said[0]
    _tell_of_slow_bf16(SimpleNamespace(reports=reports[:1]), said.append)
    assert len(said) == 1


def test_a_trial_that_ends_outside_of_tune_is_evaluated_and_others_once(monkeypatch, tmp_path):
    """As one does that a user stops while it waits to be tried again."""
    folder = SearchFolder(tmp_path)
    driver = SimpleNamespace(ended=[0], folder=folder, progress=SimpleNamespace(finalists=0), selection=Selection)
    driver.settings = SimpleNamespace(references=[])
    capacity = SimpleNamespace(allocation=SimpleNamespace(asked=Resources(), per_trial=SimpleNamespace(gpus=0)))
    tasks = SpareTasks(driver, None, capacity, None, "")
    taken = []
    monkeypatch.setattr(tasks, "_evaluate", lambda path, what, kind, count: taken.append(what))
    monkeypatch.setattr(run, "train_network", lambda *parts: True)
    monkeypatch.setattr(run, "_finish", lambda tasks, supervisor: None)

    def tune(driver, data, capacity, supervisor, tasks):
        driver.ended.append(1)
        tasks.evaluate_trial(1)
        driver.ended.append(2)

    monkeypatch.setattr(run, "_tune", tune)
    run._run_all(driver, None, capacity, SimpleNamespace(should_stop=lambda: True), tasks)
    assert taken == ["trial 0", "trial 1", "trial 2"]
