import gc
import os
import signal
import weakref

import pytest
import ray

from datg.errors import ConfigError
from datg.search.ray_backend import _check_fits, shut_down
from datg.search.request import Resources
from datg.stop import StopRequest

NODES = [{"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}]


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ({}, (1, 1.0, 2)),
        ({"gpus_per_trial": 0.0}, (1, 0.0, 12)),
        ({"gpus_per_trial": 0.25}, (1, 0.25, 4)),
        ({"gpus_per_trial": 0.5, "cpus_per_trial": 2}, (2, 0.5, 2)),
        ({"gpus_per_trial": 0.0, "cpus_per_trial": 3}, (3, 0.0, 3)),
        ({"gpus_per_trial": 0.0, "max_concurrent": 5}, (1, 0.0, 5)),
    ],
)
def test_as_many_trials_run_at_once_as_fit_on_the_nodes(asked, granted):
    found = _check_fits(NODES, Resources(**asked))
    assert (found.share.cpus, found.share.gpus, found.concurrent) == granted


@pytest.mark.parametrize("asked", [{"cpus_per_trial": 9}, {"gpus_per_trial": 3.0}, {"cpus_per_trial": 5}])
def test_what_no_node_can_ever_give_is_refused(asked):
    with pytest.raises(ConfigError, match="but no node has both; the largest have 8 CPUs and 2 GPUs"):
        _check_fits(NODES, Resources(**asked))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_a_signal_asks_to_stop_once(number, code):
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        stop = StopRequest()
        stop.install()
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested and stop.exit_code == code
        stop.install()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "a second Ctrl-C must leave at once"
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def test_a_time_budget_asks_to_stop():
    assert StopRequest(0.0).requested and StopRequest(0.0).exit_code == 75
    assert not StopRequest(1000.0).requested


def test_no_garbage_is_collected_while_ray_shuts_down(monkeypatch):
    class Reference:
        """In a cycle with itself, as Tune's are."""

        def __init__(self):
            self.me = self

    before, during = weakref.ref(Reference()), []
    monkeypatch.setattr(ray, "shutdown", lambda: during.append((before(), gc.isenabled())))
    shut_down()
    assert during == [(None, False)] and gc.isenabled()
