"""What is handed out follows the nodes of a cluster."""

import pytest

from datg.errors import ConfigError
from datg.search.ray import capacity
from datg.search.ray.capacity import Capacity, reallocate, wait_for_nodes
from datg.search.ray.nodes import NodeReport
from datg.search.ray.resources import Resources, allocate

CPU, GPUS = {"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}


class Nodes:
    """A cluster whose nodes the test decides on."""

    def __init__(self, *usable):
        self.usable, self.joining, self.looked, self.reports = list(usable), [], 0, []

    def look(self):
        self.looked += 1

    def close(self):
        """Nothing was asked."""

    def examine(self):
        if self.joining:
            self.usable.append(self.joining.pop(0))


@pytest.fixture
def asked_of_autoscaler(monkeypatch):
    asked = []
    monkeypatch.setattr(capacity, "request_resources", lambda *, bundles: asked.append(bundles))
    monkeypatch.setattr(capacity, "WAIT_SECONDS", 0.0)
    return asked


@pytest.mark.parametrize(
    ("asked", "then", "share", "concurrent"),
    [
        ({}, [CPU, CPU], 0.0, 8),
        ({}, [CPU, GPUS], 1.0, 2),  # GPUs have joined: whoever asked for nothing gets them
        ({"gpus_per_trial": "auto"}, [CPU, GPUS], 1.0, 2),
        ({"gpus_per_trial": 0.0}, [CPU, GPUS], 0.0, 12),
        ({"max_concurrent": 5}, [CPU, CPU], 0.0, 5),
        ({}, [], 0.0, 0),
    ],
)
def test_nodes_that_join_and_leave_change_what_runs_at_once(asked, then, share, concurrent):
    before = allocate([CPU], Resources(address="h:1", **asked))
    now = reallocate(before, before.asked, then, keeps_gpus=False)
    assert (now.per_trial.gpus, now.concurrent) == (share, concurrent)
    assert "to be measured" not in now.describe()
    back = reallocate(now, before.asked, [CPU], keeps_gpus=False)
    assert (back.per_trial, back.concurrent) == (before.per_trial, before.concurrent), (
        "what began on CPUs goes back there"
    )


def test_an_autoscaler_is_asked_for_the_room_of_the_start_as_long_as_trials_are_missing(
    asked_of_autoscaler, monkeypatch
):
    now, missing, nodes = [100.0], [5], Nodes(GPUS, GPUS)
    monkeypatch.setattr(capacity.time, "monotonic", lambda: now[0])
    followed = Capacity(allocate(nodes.usable, Resources(address="h:1"), nodes), print, lambda: missing[0])
    one = {"CPU": 1.0, "GPU": 1.0}
    for left, gone, wanted in ((5, False, [[one] * 4]), (5, True, []), (3, False, [[one] * 3]), (0, False, [[]])):
        if gone:
            nodes.usable.clear()
        missing[0], now[0] = left, now[0] + 11
        del asked_of_autoscaler[:]
        followed.look()
        assert asked_of_autoscaler == wanted
    assert followed.allocation.concurrent == 0
    followed.end()


def test_trials_that_have_a_gpu_keep_one():
    before = allocate([CPU, GPUS], Resources(address="h:1"))
    gone = reallocate(before, before.asked, [CPU], keeps_gpus=True)
    assert (gone.per_trial.gpus, gone.concurrent, gone.slots) == (1.0, 0, 0)
    back = reallocate(gone, before.asked, [CPU, GPUS], keeps_gpus=True)
    assert (back.per_trial.gpus, back.concurrent) == (1.0, 2)


def test_each_change_is_told_once(monkeypatch):
    now, told, nodes = [100.0], [], Nodes(CPU)
    monkeypatch.setattr(capacity.time, "monotonic", lambda: now[0])
    followed = Capacity(allocate(nodes.usable, Resources(address="h:1"), nodes), told.append)
    for seconds, joining, said in ((5, [GPUS], 0), (6, [], 1), (11, [], 1), (11, [CPU], 2)):
        nodes.usable += joining
        now[0] += seconds
        followed.look()
        assert len(told) == said
    assert "up to 2 at once on the cluster at h:1 (2 nodes, 12 CPUs, 2 GPUs)" in told[0]


def test_a_measured_share_is_used_from_then_on():
    nodes = Nodes(GPUS)
    followed = Capacity(allocate(nodes.usable, Resources(address="h:1", gpus_per_trial="auto"), nodes), print)
    followed.share(0.5)
    assert (followed.allocation.per_trial.gpus, followed.allocation.concurrent) == (0.5, 4)
    assert "each with 1 CPU and 0.5 GPU" in followed.allocation.describe()
    nodes.usable.append(GPUS)
    followed._follow()
    assert followed.allocation.concurrent == 8


def test_gpus_are_waited_for_and_an_autoscaler_is_asked(asked_of_autoscaler):
    nodes, told = Nodes(CPU), []
    nodes.joining = [CPU, GPUS, GPUS]
    wait_for_nodes(nodes, Resources(address="h:1", wait_for_gpus=4), told.append)
    assert asked_of_autoscaler == [[{"GPU": 1.0}] * 4, []]
    assert told == ["waiting: the cluster has 0 of 4 GPUs"]


def test_a_node_that_a_trial_fits_on_is_waited_for(asked_of_autoscaler):
    nodes, told = Nodes(), []
    nodes.joining = [CPU, GPUS]
    wait_for_nodes(nodes, Resources(address="h:1", gpus_per_trial=0.5, wait=60.0), told.append)
    assert asked_of_autoscaler[0] == [{"CPU": 1.0, "GPU": 0.5}] and nodes.usable == [CPU, GPUS]


def test_what_does_not_come_in_time_is_said(asked_of_autoscaler):
    with pytest.raises(ConfigError, match=r"after 0 s of waiting the cluster has 2 of 3 GPUs; .*--wait"):
        wait_for_nodes(Nodes(GPUS), Resources(address="h:1", wait_for_gpus=3, wait=0.0), print)
    assert asked_of_autoscaler[-1] == []


def test_a_node_that_comes_and_cannot_run_trials_is_named_and_not_waited_for(asked_of_autoscaler):
    nodes = Nodes(CPU)
    nodes.reports = [
        NodeReport("id", "host-7", {"GPU": 4.0}, {}, ["torch is 2.9 there and 2.13 here; install the same."])
    ]
    with pytest.raises(ConfigError, match="node host-7: torch is 2.9 there"):
        wait_for_nodes(nodes, Resources(address="h:1", wait_for_gpus=4), print)
    nodes.joining = [GPUS, GPUS]
    wait_for_nodes(nodes, Resources(address="h:1", wait_for_gpus=4, skip_bad_nodes=True), print)


def test_who_asks_for_nothing_waits_for_nothing(asked_of_autoscaler):
    wait_for_nodes(Nodes(), Resources(address="h:1"), print)
    assert asked_of_autoscaler == []
