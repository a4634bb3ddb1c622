"""Machines that come and go: raylets on one machine, and separate hosts of which one is cut off."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datg.search.ray.supervisor import SAVE_SECONDS
from datg.search.state.folder import SearchFolder
from datg.storage.lease import TRIAL_LEASE, read_lease
from datg.trial.records import OUTCOME
from tests.faults.searches import ROOT, SMALL, Place, check_mlflow, check_whole, kill, needs_machines, steps, until

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
REMOVALS, SECONDS = 2, 12
# A cluster that loses a node every so often, in a process of its own; tells its address, and how often data arrived at nodes.
CLUSTER = """
import json, os, sys, time
os.environ["RAY_AUTH_MODE"] = "disabled"
from pathlib import Path
import ray
from ray.cluster_utils import Cluster

place, removals, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
small = {"object_store_memory": 200_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **small})
workers = [cluster.add_node(num_cpus=2, object_store_memory=200_000_000) for _ in range(2)]
(place / "address").write_text(cluster.address)
while not (place / "go").exists():
    time.sleep(0.1)
for _ in range(removals):
    time.sleep(seconds)
    cluster.remove_node(workers.pop(0), allow_graceful=False)
    workers.append(cluster.add_node(num_cpus=2, object_store_memory=200_000_000))
    with (place / "removed").open("a") as file:
        file.write("x")
while not (place / "end").exists():
    time.sleep(0.1)
cluster.shutdown()
"""


@contextlib.contextmanager
def cluster(script, place, *arguments):
    """A cluster that a script runs in a process of its own, until the block ends."""
    with (place.path / "cluster.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(place.path), *map(str, arguments)],
            env=place.environment | {"RAY_AUTH_MODE": "disabled"},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        (place.path / "end").touch()
        process.terminate()
        process.wait(30)


def test_nodes_are_removed_and_added_and_nothing_is_lost(place_with):
    place = place_with("here", RAY_AUTH_MODE="disabled")
    with cluster(CLUSTER, place, REMOVALS, SECONDS):
        address = until(lambda: (place.path / "address").read_text())
        options = ["--address", address, "--max-failures", 6, "--pruner", "none"]
        trials = 6
        process = place.start("search", *SMALL, *steps(160, 20), "--trials", trials, *options)
        until(lambda: list(place.path.glob("runs/*/trials/*/worker.json")))
        (place.path / "go").touch()
        place.wait(process, 0, timeout=500)
        while (removed := len((place.path / "removed").read_text())) < REMOVALS:  # a fast machine needs more trials
            trials += 4
            place.run("search", "--resume", place.folder.name, "--trials", trials, *options[:4])
    assert removed == REMOVALS
    outcomes = check_whole(place.folder, trials, steps=list(range(20, 161, 20)))
    assert outcomes["finished"] + outcomes["collapsed"] == trials
    check_mlflow(place.tracking, place.folder)


GROWING = """
import os, sys, time
os.environ["RAY_AUTH_MODE"] = "disabled"
from pathlib import Path
from ray.cluster_utils import Cluster

place = Path(sys.argv[1])
small = {"object_store_memory": 200_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **small})
(place / "address").write_text(cluster.address)
for name in ("one", "more"):
    while not (place / name).exists():
        time.sleep(0.1)
    cluster.add_node(num_cpus=len(name) - 2, object_store_memory=200_000_000)
while not (place / "end").exists():
    time.sleep(0.1)
cluster.shutdown()
"""


def test_a_search_waits_for_its_first_node_and_uses_those_that_join(place_with):
    place = place_with("here", RAY_AUTH_MODE="disabled")
    with cluster(GROWING, place):
        address = until(lambda: (place.path / "address").read_text())
        there = ["--address", address, "--pruner", "none"]
        refused = place.run("search", *SMALL, *there, "--wait", 2, code=2)
        assert "s of waiting a trial asks for 1 CPUs" in refused and "--wait" in refused
        assert not list(place.path.glob("runs/*")), "it has left nothing"
        process = place.start("search", *SMALL, *steps(160, 20), "--trials", 5, *there, "--wait", 120)
        until(lambda: "waiting: a trial asks for 1 CPUs" in place.said(process))
        (place.path / "one").touch()
        until(lambda: list(place.path.glob("runs/*/trials/*/worker.json")))
        (place.path / "more").touch()
        until(lambda: "trials: up to 3 at once" in place.said(process))
        time.sleep(5)
        kill(process, signal.SIGINT)
        asked = time.monotonic()
        place.wait(process, 130, timeout=60)
        assert time.monotonic() - asked < SAVE_SECONDS, "trials on all nodes have heard of it"
        said = place.said(process)
        place.run("search", "--resume", place.folder.name, *there)
    assert "trials: up to 1 at once" in said and "trials: up to 3 at once" in said
    assert len({path.read_text() for path in place.folder.path.glob("trials/*/node.txt")}) == 2
    check_whole(place.folder, 5, steps=list(range(20, 161, 20)))


def test_data_reach_a_new_node_once():
    """Through the object store: however many trials run on a node, it fetches the table a single time."""
    script = """
import json, os
os.environ["RAY_AUTH_MODE"] = "disabled"
import numpy as np, ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
from ray.experimental import get_object_locations
small = {"object_store_memory": 200_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **small})
ray.init(address=cluster.address, log_to_driver=False)
table = ray.put(np.arange(5_000_000))
node = cluster.add_node(num_cpus=4, object_store_memory=200_000_000)
cluster.wait_for_nodes()
there = next(n["NodeID"] for n in ray.nodes() if n["NodeID"] != ray.get_runtime_context().get_node_id())

@ray.remote(num_cpus=1)
def use(table):
    import os
    return os.getpid(), not table.flags.owndata and not table.flags.writeable, int(table[-1])

found = ray.get([use.options(scheduling_strategy=On(there, soft=False)).remote(table) for _ in range(4)])
held = get_object_locations([table])[table]["node_ids"]
print(json.dumps({"found": found, "copies": len(held), "there": there in held}))
ray.shutdown(); cluster.shutdown()
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout.splitlines()[-1])
    assert all(shared and last == 4_999_999 for _, shared, last in said["found"]), "workers look into shared memory"
    assert said["copies"] == 2 and said["there"], "one copy where it was made, one on the new node"


@needs_machines
def test_a_host_that_is_cut_off_and_comes_back_does_no_harm(data_root):
    from tests.faults.remote_node import QUICK, Hosts

    hosts = Hosts()
    try:
        place = Place(hosts.shared, data_root)
        options = ["--address", hosts.address, "--output", hosts.shared / "runs", "--pruner", "none", "--trials", 4]
        options += ["--tracking-uri", f"sqlite:///{hosts.shared}/mlflow.db", "--data-root", hosts.shared / "data"]
        script = f"cd {hosts.shared} && exec " + " ".join(
            [sys.executable, str(ROOT / "launchers" / "search.py"), *map(str, [*SMALL, *steps(240, 20), *options])]
        )
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "DATG_"))}
        with (hosts.shared / "log.txt").open("w") as log:
            process = subprocess.Popen(
                hosts["head"].inside("sh", "-c", script), env=clean | QUICK, stdout=log, stderr=log
            )
        trials = hosts.shared / "runs"

        def works_on(name):
            leases = {
                path: read_lease(path / TRIAL_LEASE)
                for path in trials.glob("*/trials/*")
                if not (path / OUTCOME).exists()
            }
            return [path for path, lease in leases.items() if lease and lease.is_active and lease.host == name]

        victim = until(lambda: works_on("first"))[0]
        until(lambda: (victim / "last.safetensors").exists())
        hosts.cut("first")
        until(lambda: (c := read_lease(victim / TRIAL_LEASE)) and c.host != "first")
        time.sleep(5)
        hosts.repair("first")
        time.sleep(5)
        hosts["first"].run(sys.executable, "-m", "ray.scripts.scripts", "stop", "--force")
        hosts.join("first")
        assert process.wait(400) == 0, (hosts.shared / "log.txt").read_text()
        (folder,) = map(SearchFolder, trials.iterdir())
        outcomes = check_whole(folder, 4, steps=list(range(20, 241, 20)))
        assert outcomes["finished"] + outcomes["collapsed"] == 4
        check_mlflow(place.tracking, folder)
        assert {read_lease(Path(path) / TRIAL_LEASE).host for path in trials.glob("*/trials/*")} >= {"second"}
    finally:
        hosts.close()
