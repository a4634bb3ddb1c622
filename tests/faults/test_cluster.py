"""Nodes that cannot run trials are named before the first trial, left out when asked for, and looked at when they join later."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.faults.searches import ROOT, SMALL, needs_machines, steps, until

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def hosts():
    """A head that can run trials, `first` without the shared folder, and `second` without this package."""
    from tests.faults.remote_node import Hosts

    found = Hosts()
    try:
        found["first"].run("mount", "-t", "tmpfs", "tmpfs", found.shared)
        found["second"].run("mount", "-t", "tmpfs", "tmpfs", ROOT / "datg")
        yield found
    finally:
        found.close()


def start_on_head(hosts, data_root, launcher, *arguments):
    """Starts a command on the head, whose output goes to the shared folder's log."""
    from tests.faults.remote_node import QUICK

    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "DATG_"))}
    options = ["--address", hosts.address, "--output", hosts.shared / "runs", *arguments]
    command = [sys.executable, ROOT / "launchers" / f"{launcher}.py", *options]
    with (hosts.shared / f"{launcher}.txt").open("w") as log:
        return subprocess.Popen(
            hosts["head"].inside("env", "-C", hosts.shared, *command),
            env=clean | QUICK | {"DATG_DATA": str(data_root)},
            stdout=log,
            stderr=log,
        )


def said_on_head(hosts, data_root, launcher, *arguments, code):
    process = start_on_head(hosts, data_root, launcher, *arguments)
    assert process.wait(300) == code, (hosts.shared / f"{launcher}.txt").read_text()
    return (hosts.shared / f"{launcher}.txt").read_text()


@needs_machines
def test_bad_nodes_are_named_left_out_and_looked_at_when_they_join(hosts, data_root):
    began = time.monotonic()
    said = said_on_head(hosts, data_root, "check_cluster", code=2)
    assert time.monotonic() - began < 60
    assert f"node first: {hosts.shared}/runs is another folder there" in said
    assert "node second: this package or torch cannot be imported there (ModuleNotFoundError" in said
    assert "node head:" not in said
    trials = [*SMALL, *steps(40, 10), "--trials", 2, "--pruner", "none"]
    refused = said_on_head(hosts, data_root, "search", *trials, code=2)
    assert "error: node first: " in refused and "--skip-bad-nodes" in refused
    assert not (hosts.shared / "runs").exists(), "nothing is left behind"

    process = start_on_head(hosts, data_root, "search", *trials, "--skip-bad-nodes", *steps(250, 50))
    until(lambda: list(hosts.shared.glob("runs/*/trials/0/progress.jsonl")))
    hosts["second"].run("umount", ROOT / "datg")
    for name in ("first", "second"):  # the one is still bad, and the other is good now
        hosts[name].run(sys.executable, "-m", "ray.scripts.scripts", "stop", "--force")
        hosts.join(name)
    assert process.wait(300) == 0, (hosts.shared / "search.txt").read_text()
    said = (hosts.shared / "search.txt").read_text()
    assert "(1 node, 1 CPUs, 0 GPUs)" in said and "node first has joined and runs no trials: " in said
    assert "node second has joined and runs no trials" not in said
    places = [json.loads(path.read_text())["host"] for path in hosts.shared.glob("runs/*/trials/*/worker.json")]
    assert len(places) == 2 and "first" not in places
