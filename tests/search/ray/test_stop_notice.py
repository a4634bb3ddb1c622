"""That a search is to end is heard once it is told, by a file or through Ray."""

import subprocess
import sys

import pytest

from datg.search.ray import stop_notice
from datg.search.ray.stop_notice import StopNotice, heard_at


def test_on_one_machine_it_is_a_file(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stop_notice.time, "monotonic", lambda: now[0])
    notice = StopNotice(tmp_path / "stop", cluster=False)
    stop = heard_at(notice.place)
    assert not stop()
    notice.give()
    assert not stop(), "it looks once a second"
    now[0] += 1.0
    assert stop()
    notice.clear()
    now[0] += 1.0
    assert stop(), "what was heard stays heard"
    assert not heard_at(notice.place)()


THROUGH_RAY = """
import os, sys, time
os.environ["RAY_AUTH_MODE"] = "disabled"
from pathlib import Path
import ray
from datg.search.ray.stop_notice import StopNotice, heard_at

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0.1)
def work(place):
    stop = heard_at(place)
    before = stop()
    while not stop():
        time.sleep(0.05)
    return before

notice = StopNotice(Path(sys.argv[1]), cluster=True)
working = [work.remote(notice.place) for _ in range(3)]
assert not ray.wait(working, timeout=4)[0], "nothing was told"
notice.give()
assert ray.get(working, timeout=20) == [False] * 3
assert not Path(sys.argv[1]).exists()
ray.shutdown()
"""


@pytest.mark.slow
def test_on_a_cluster_it_goes_through_ray(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", THROUGH_RAY, str(tmp_path / "stop")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
