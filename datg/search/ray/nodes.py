"""The nodes of a cluster, each of which is looked at before its first trial: whether it has what a trial needs.

A node without this package, without the shared folder or with a broken clock would otherwise eat trials, one every few seconds.
"""

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datg.errors import ConfigError
from datg.search.ray import probe
from datg.search.versions import versions

PROBE_SECONDS = 20.0  # for each node of a machine, whose processors they share
LOOK_SECONDS = 10.0  # between two looks for nodes that have joined
LEAST_SHARED_MEMORY = 128 * 2**20  # bytes
CLOCK_SECONDS = 10.0  # that clocks may differ: signs of life are compared by the time of files
NODE_LABEL = "ray.io/node-id"
COMPARED = ("datg", "code", "torch")  # versions that must be those of the driver


@dataclass(frozen=True)
class NodeReport:
    """Hold what was found on a node.

    Attributes:
        id: Ray's.
        name: its host name, as far as Ray knows it.
        resources: that Ray has there.
        found: see :func:`~datg.search.ray.probe.look_around`; empty for one that did not answer.
        problems: sentences, each with what to do; none for a good one.
    """

    id: str
    name: str
    resources: dict[str, float]
    found: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class ClusterNodes:
    """Know which nodes may run trials."""

    def __init__(self, output: Path | None, notify: Callable[[str], None] = lambda text: None) -> None:
        """Examine nothing yet.

        Args:
            output: the folder that all nodes must share; None for a Ray of this machine alone, whose node needs no look.
            notify: told of nodes that join and may not run trials.
        """
        self._output, self.notify = output, notify
        self._reports: dict[str, NodeReport] = {}
        self._probes: dict[str, _Probe] = {}
        self._looked = time.monotonic()
        self._made_output = False  # which was not there, and is to go again

    @property
    def reports(self) -> list[NodeReport]:
        """Return what is known of the nodes, by name."""
        return sorted(self._reports.values(), key=lambda report: (report.name, report.id))

    @property
    def usable(self) -> list[dict[str, float]]:
        """Return the resources of each node that may run trials."""
        closed = self.closed
        return [node["Resources"] for node in _alive() if node["NodeID"] not in closed]

    @property
    def closed(self) -> set[str]:
        """Return the ids of the nodes that may not run trials: bad, or not examined yet."""
        if self._output is None:
            return set()
        known = self._reports
        return {node["NodeID"] for node in _alive() if node["NodeID"] not in known or known[node["NodeID"]].problems}

    def examine(self) -> None:
        """Look at all nodes that have not been looked at; takes at most :data:`PROBE_SECONDS` for each node of a machine."""
        try:
            self._begin()
            while self._probes:
                self._collect(timeout=0.5)
        finally:
            self.close()

    def look(self) -> None:
        """Look for nodes that have joined, every :data:`LOOK_SECONDS`, and at what they answer; waits for nothing."""
        if self._output is None:
            return
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._begin()
        if self._probes:
            for report in self._collect(timeout=0.0):
                for problem in report.problems:
                    self.notify(f"node {report.name} has joined and runs no trials: {problem}")

    def close(self) -> None:
        """Wait for no answers any more, and leave nothing behind of what was asked."""
        for one in self._probes.values():
            one.close()
        self._probes.clear()

    def avoiding(self, others: Iterable[str] = ()) -> dict[str, str]:
        """Return the labels of nodes that may run a trial, as Ray selects by them; of ``others`` none as long as more remain."""
        if self._output is None:
            return {}
        closed = self.closed
        open_nodes = {node["NodeID"] for node in _alive()} - closed
        avoided = closed | (set(others) if open_nodes - set(others) else set())
        return {NODE_LABEL: f"!in({','.join(sorted(avoided))})"} if avoided else {}

    def _begin(self) -> None:
        assert self._output is not None
        nodes = _alive()
        sharing = Counter(node["NodeManagerHostname"] for node in nodes)
        for node in nodes:
            if node["NodeID"] not in self._reports and node["NodeID"] not in self._probes:
                self._made_output = self._made_output or not self._output.exists()
                self._output.mkdir(parents=True, exist_ok=True)
                seconds = PROBE_SECONDS * sharing[node["NodeManagerHostname"]]
                self._probes[node["NodeID"]] = _Probe(node, self._output, seconds)

    def _collect(self, timeout: float) -> list[NodeReport]:
        assert self._output is not None
        ray.wait([one.task for one in self._probes.values()], num_returns=len(self._probes), timeout=timeout)
        ended = [report for one in self._probes.values() if (report := one.report()) is not None]
        for report in ended:
            self._reports[report.id] = report
            del self._probes[report.id]
        if self._made_output and not self._probes:
            self._made_output = False
            with contextlib.suppress(OSError):  # by now somebody uses it
                self._output.rmdir()
        return ended


def refuse_bad_nodes(nodes: ClusterNodes) -> None:
    """Refuse a cluster with nodes that cannot run trials.

    Raises:
        ConfigError: naming each and what helps.
    """
    bad = [f"node {report.name}: {problem}" for report in nodes.reports for problem in report.problems]
    if bad:
        raise ConfigError("\n".join([*bad, "fix that, or leave these nodes out: --skip-bad-nodes"]))


class _Probe:
    """A node that is being looked at."""

    def __init__(self, node: dict[str, Any], output: Path, seconds: float) -> None:
        self._node, self._began, self._seconds = node, time.monotonic(), seconds
        name = f".datg-probe-{uuid.uuid4().hex}"
        self._token, self._beside = output / name, output / f"{name}-node"
        self._token.touch()
        self._sent = time.time()
        cloudpickle.register_pickle_by_value(probe)
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(probe.look_around)
        self.task = task.options(scheduling_strategy=there).remote(str(self._token), str(self._beside))

    def report(self) -> NodeReport | None:
        """Return what was found; None while the node may still answer."""
        done, _ = ray.wait([self.task], timeout=0)
        if not done and time.monotonic() - self._began < self._seconds:
            return None
        node, answered = self._node, time.time()
        found: dict[str, Any] = {}
        try:
            problems = [
                f"it has not answered within {self._seconds:.0f} s; look whether its machine hangs or is cut off."
            ]
            if done:
                found = ray.get(done[0])
                problems = list(self._problems(found, answered))
            else:
                ray.cancel(self.task, force=True)
        except ray.exceptions.RayError as error:
            problems = [f"no task runs there ({str(error).strip().splitlines()[-1]})."]
        finally:
            self.close()
        name = found.get("host") or node["NodeManagerHostname"]
        return NodeReport(node["NodeID"], str(name), node["Resources"], found, problems)

    def _problems(self, found: dict[str, Any], answered: float) -> Iterable[str]:
        folder = self._token.parent
        if not found["sees"]:
            yield f"{folder} is another folder there: a file that was just written here is missing; mount the shared folder."
        elif found["write"] or not self._beside.exists():
            why = found["write"] or "what it writes does not arrive here"
            yield f"{folder} cannot be written there ({why}); give the user there write access."
        if "import" in found:
            yield f"this package or torch cannot be imported there ({found['import']}); install both as here."
        else:
            here = versions()
            for name in COMPARED:
                if found["versions"][name] != here[name]:
                    yield f"{name} is {found['versions'][name]} there and {here[name]} here; install the same."
            gpus = int(self._node["Resources"].get("GPU", 0))
            if gpus > found["gpus"]:
                yield (
                    f"Ray has {gpus} GPUs there and torch sees {found['gpus']}; install a torch with CUDA, or start Ray there "
                    f"with --num-gpus {found['gpus']}."
                )
        if found["shm"] < LEAST_SHARED_MEMORY:
            yield (
                f"its shared memory has {found['shm'] >> 20} MiB free, and a data set needs room there; give a container "
                "--shm-size=1g or more."
            )
        if not self._sent - CLOCK_SECONDS <= found["clock"] <= answered + CLOCK_SECONDS:
            yield f"its clock is {abs(found['clock'] - answered):.0f} s off; synchronise it."

    def close(self) -> None:
        """Remove the files of the look; Ray ends it with the search, if it has not ended."""
        for path in (self._token, self._beside):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
