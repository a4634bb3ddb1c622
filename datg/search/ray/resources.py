"""What a cluster can give a search: the resources of a trial, and how many trials and evaluations fit at once."""

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from datg.errors import ConfigError
from datg.runtime.called import command
from datg.storage.lease import SECONDS_BETWEEN_HEARTBEATS

if TYPE_CHECKING:
    from datg.search.ray.nodes import ClusterNodes

AUTO: Literal["auto"] = "auto"
MOST_ON_A_GPU = 16  # trials


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Hold what a search may use.

    Attributes:
        address: of a Ray cluster, ``auto`` for the one this machine belongs to, None to start one here.
        cpus_per_trial: cores, which is also the number of threads of a trial.
        gpus_per_trial: may be a fraction; None takes one where there are any; auto measures how many trials share one.
        max_concurrent: trials at once; None takes as many as fit.
        max_failures: times that a trial is tried again after its machine or process broke.
        trial_timeout: seconds without a finished iteration after which a trial counts as hung; None waits for ever.
        skip_bad_nodes: go on without the nodes of a cluster that cannot run trials, instead of refusing it.
        wait_for_gpus: how many GPUs a cluster must have before a search starts; None starts with what is there.
        wait: seconds that those, or a node that a trial fits on, are waited for; None waits for GPUs for ever, and else not.
    """

    address: str | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: float | Literal["auto"] | None = None
    max_concurrent: int | None = None
    max_failures: int = 3
    trial_timeout: float | None = None
    skip_bad_nodes: bool = False
    wait_for_gpus: int | None = None
    wait: float | None = None


@dataclass(frozen=True)
class TrialResources:
    """Hold what one trial gets of a machine.

    Attributes:
        cpus: cores, and threads.
        gpus: may be a fraction.
        heartbeat: seconds between two signs of life: often enough for a watchdog, and seldom enough for a network file system.
    """

    cpus: int
    gpus: float
    heartbeat: float = SECONDS_BETWEEN_HEARTBEATS


@dataclass(frozen=True)
class Allocation:
    """Hold resources that the cluster can give: as asked, with the open questions answered.

    Attributes:
        per_trial: of a trial, or of a final evaluation.
        slots: how many of them fit on all nodes.
        concurrent: trials at once.
        most_concurrent: upper bound on trials at once, assuming 16 per GPU while the number is still to be measured.
        asked: what was asked for.
        nodes: that may run trials; None where there is no Ray.
        totals: nodes, CPUs and GPUs there are.
    """

    per_trial: TrialResources
    slots: int
    concurrent: int
    most_concurrent: int
    asked: Resources
    nodes: "ClusterNodes | None" = None
    totals: tuple[int, float, float] = (1, 0.0, 0.0)

    def describe(self) -> str:
        """Return what runs at once in a line."""
        share, number = self.per_trial, self.concurrent
        nodes, cpus, gpus_in_all = self.totals
        where = "a Ray started here"
        if self.asked.address is not None:
            plural = "" if nodes == 1 else "s"
            where = f"the cluster at {self.asked.address} ({nodes} node{plural}, {cpus:g} CPUs, {gpus_in_all:g} GPUs)"
        gpus = "no GPU" if share.gpus == 0 else f"{share.gpus:g} GPU"
        if self.asked.gpus_per_trial == AUTO and share.gpus:
            gpus = "a share of a GPU, to be measured"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = "" if visible is None or self.asked.address else f"; CUDA_VISIBLE_DEVICES is {visible!r}"
        return f"up to {number} at once on {where}, each with {share.cpus} CPU and {gpus}{seen}{self._idle()}"

    def _idle(self) -> str:
        """Return that GPUs have nothing to do because CPUs are missing beside them, if it is so."""
        idle = self.totals[2] - self.slots * self.per_trial.gpus
        if self.per_trial.gpus == 0 or idle < 1:
            return ""
        return (
            f"; {int(idle)} of {self.totals[2]:g} GPUs stay idle, because the nodes have too few CPUs beside them: start Ray "
            "there with more --num-cpus, or lower --cpus-per-trial"
        )


def allocate(nodes: list[dict[str, float]], asked: Resources, cluster: "ClusterNodes | None" = None) -> Allocation:
    """Answer what was asked from the resources of each node; ``auto`` GPUs are whole ones until they are measured.

    Raises:
        ConfigError: no node can ever run a trial.
    """
    if not nodes:
        raise ConfigError(
            f"no node of the cluster can run a trial; look at them with: {command('check_cluster', f'--address {asked.address}')}"
        )
    cpus = asked.cpus_per_trial
    most_gpus = max(node.get("GPU", 0.0) for node in nodes)
    gpus = asked.gpus_per_trial
    if gpus is None or gpus == AUTO:
        gpus = min(1.0, most_gpus)
    slots = most_slots = _slots(nodes, cpus, gpus)
    if asked.gpus_per_trial == AUTO:
        most_slots = _slots(nodes, cpus, gpus / MOST_ON_A_GPU)
    if slots == 0:
        most_cpus = max(node.get("CPU", 0.0) for node in nodes)
        raise ConfigError(
            f"a trial asks for {cpus} CPUs and {gpus:g} GPUs, but no node has both; the largest have {most_cpus:g} CPUs and "
            f"{most_gpus:g} GPUs: lower --cpus-per-trial or --gpus-per-trial."
        )
    concurrent, most_concurrent = (min(number, asked.max_concurrent or number) for number in (slots, most_slots))
    all_cpus, all_gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    totals = len(nodes), all_cpus, all_gpus
    return Allocation(
        TrialResources(cpus, gpus, _heartbeat(asked)), slots, concurrent, most_concurrent, asked, cluster, totals
    )


def _heartbeat(asked: Resources) -> float:
    return min(SECONDS_BETWEEN_HEARTBEATS, (asked.trial_timeout or math.inf) / 10)


def allocate_here(asked: Resources) -> Allocation:
    """Answer what was asked from what this machine has.

    Raises:
        ConfigError: it can never run a trial.
    """
    import torch  # takes a second, and help does without

    return allocate([{"CPU": float(usable_cpus()), "GPU": float(torch.cuda.device_count())}], asked)


def usable_cpus() -> int:
    """Return how many processors this process may use: by its affinity and its cgroup's quota."""
    import joblib

    return int(joblib.cpu_count())


def _slots(nodes: list[dict[str, float]], cpus: int, gpus: float) -> int:
    """Return how many shares of ``cpus`` cores and ``gpus`` GPUs all nodes have; a share lies on one GPU."""
    slots = 0
    for node in nodes:
        fits = int(node.get("CPU", 0.0) // cpus)
        slots += fits if gpus == 0 else min(fits, int(node.get("GPU", 0.0)) * int(1 / gpus + 1e-6))
    return slots


def parse_gpus(text: str | None) -> float | Literal["auto"] | None:
    """Return what ``--gpus-per-trial`` says; None stays None.

    Raises:
        ConfigError: it is neither auto nor a share of a GPU, and a trial computes on one GPU at most.
    """
    if text is None or text == AUTO:
        return text
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ConfigError(
            f"`--gpus-per-trial` must be auto or a number from 0 to 1, such as 0.25: a trial uses one GPU at most, got {text}."
        )
    return number
