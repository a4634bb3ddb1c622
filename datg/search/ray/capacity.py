"""What a cluster can give while a search runs: nodes join and leave, and what is handed out follows."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from ray.autoscaler.sdk import request_resources

from datg.errors import ConfigError
from datg.search.ray.nodes import LOOK_SECONDS, ClusterNodes, refuse_bad_nodes
from datg.search.ray.resources import AUTO, Allocation, Resources, allocate

WAIT_SECONDS = 1.0  # between two looks for nodes that are waited for
TELL_SECONDS = 60.0  # between two sentences that say what is waited for


class Capacity:
    """Follow the nodes of a cluster; without one it stays what it was.

    Attributes:
        allocation: what the cluster gives now.
        notify: told of each change.
    """

    def __init__(
        self, allocation: Allocation, notify: Callable[[str], None], missing: Callable[[], int] = lambda: 0
    ) -> None:
        """Follow from what there was at the start; ``missing`` says how many trials are yet to end."""
        self.allocation, self.notify, self._missing = allocation, notify, missing
        self._asked, self._began_with = allocation.asked, allocation
        self._looked, self._demand = time.monotonic(), list[dict[str, float]]()

    @property
    def nodes(self) -> ClusterNodes:
        """Return the nodes, and which of them may run trials."""
        assert self.allocation.nodes is not None
        return self.allocation.nodes

    def look(self) -> None:
        """Look at what the cluster gives, every :data:`LOOK_SECONDS`; waits for nothing."""
        if self._asked.address is None:
            return
        self.nodes.look()
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._follow()
            self._ask_autoscaler()

    def share(self, gpus: float) -> None:
        """Give each trial this share of a GPU from now on."""
        self._asked = replace(self._asked, gpus_per_trial=gpus)
        self._follow()

    def end(self) -> None:
        """Ask an autoscaler for nothing any more, and nodes that have joined for no answer."""
        self.nodes.close()
        if self._demand:
            self._demand = []
            request_resources(bundles=[])

    def _follow(self) -> None:
        now = reallocate(
            self.allocation, self._asked, self.nodes.usable, keeps_gpus=self._began_with.per_trial.gpus > 0
        )
        changed = (now.totals, now.per_trial) != (self.allocation.totals, self.allocation.per_trial)
        self.allocation = now
        if changed:
            self.notify(f"trials: {now.describe()}")

    def _ask_autoscaler(self) -> None:
        """Ask for the room that there was at the start, or that was asked for: none of our trials waits in Ray's own queue."""
        number = min(self._missing(), self._asked.max_concurrent or max(1, self._began_with.concurrent))
        share = self.allocation.per_trial
        demand = [{"CPU": float(share.cpus)} | ({"GPU": share.gpus} if share.gpus else {})] * number
        if demand != self._demand:
            self._demand = demand
            request_resources(bundles=demand)


def reallocate(before: Allocation, asked: Resources, nodes: list[dict[str, float]], *, keeps_gpus: bool) -> Allocation:
    """Answer what was asked from the nodes that there are now.

    Args:
        before: the last answer.
        asked: where it leaves GPUs open, a search that began without any has them while there are any.
        nodes: the resources of each.
        keeps_gpus: the search began with GPUs: where none is left, none runs until there is one again.
    """
    shares = [asked.gpus_per_trial]
    if asked.gpus_per_trial in (None, AUTO):
        shares = [before.per_trial.gpus] if keeps_gpus else [1.0, 0.0]
    found = []
    for share in shares:
        with contextlib.suppress(ConfigError):  # no node can run such a trial
            found.append(allocate(nodes, replace(asked, gpus_per_trial=share), before.nodes))
    if found:
        return found[0]
    totals = len(nodes), sum(node.get("CPU", 0.0) for node in nodes), sum(node.get("GPU", 0.0) for node in nodes)
    return replace(before, slots=0, concurrent=0, totals=totals)


def wait_for_nodes(nodes: ClusterNodes, asked: Resources, notify: Callable[[str], None]) -> None:
    """Wait for what was asked to wait for, and have an autoscaler, if there is one, start it.

    Raises:
        ConfigError: it has not come in time, or a node has come that cannot run trials.
    """
    if asked.wait_for_gpus is None and asked.wait is None:
        return
    request_resources(bundles=_bundles(asked))
    began, told = time.monotonic(), 0.0
    try:
        while (missing := _missing(nodes, asked)) is not None:
            waited = time.monotonic() - began
            if asked.wait is not None and waited >= asked.wait:
                raise ConfigError(
                    f"after {waited:.0f} s of waiting {missing}; start more nodes, wait longer (--wait), or ask for less."
                )
            if not told or time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                notify(f"waiting: {missing}")
            time.sleep(WAIT_SECONDS)
            nodes.examine()
            if not asked.skip_bad_nodes:
                refuse_bad_nodes(nodes)
    finally:
        request_resources(bundles=[])  # trials keep what they use


def _bundles(asked: Resources) -> list[dict[str, float]]:
    """Return what an autoscaler is asked for: a GPU each, or room for one trial."""
    if asked.wait_for_gpus is not None:
        return [{"GPU": 1.0}] * asked.wait_for_gpus
    gpus = asked.gpus_per_trial
    return [{"CPU": float(asked.cpus_per_trial)} | ({"GPU": gpus} if isinstance(gpus, float) and gpus > 0 else {})]


def _missing(nodes: ClusterNodes, asked: Resources) -> str | None:
    """Return what is still waited for; None if all is there."""
    usable = nodes.usable
    gpus = sum(node.get("GPU", 0.0) for node in usable)
    if asked.wait_for_gpus is not None and gpus < asked.wait_for_gpus:
        return f"the cluster has {gpus:g} of {asked.wait_for_gpus} GPUs"
    try:
        allocate(usable, asked)
    except ConfigError as error:
        return str(error).partition(":")[0].partition(";")[0]
    return None
