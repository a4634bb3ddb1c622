"""What a cluster can give a search: the resources of a trial, and how many trials and evaluations fit at once."""

from dataclasses import dataclass

from datg.errors import ConfigError
from datg.search.request import AUTO, Resources

MOST_ON_A_GPU = 16  # trials


@dataclass(frozen=True)
class Share:
    """What one trial gets of a machine.

    Attributes:
        cpus: cores, and threads.
        gpus: may be a fraction.
    """

    cpus: int
    gpus: float


@dataclass(frozen=True)
class Granted:
    """Resources that the cluster can give: as asked, with the open questions answered.

    Attributes:
        share: of a trial, or of a final evaluation.
        slots: how many of them fit on all nodes.
        concurrent: trials at once.
        most_concurrent: likewise, were GPUs that are still to be shared shared by as many trials as they ever are.
        asked: what was asked for.
    """

    share: Share
    slots: int
    concurrent: int
    most_concurrent: int
    asked: Resources


def grant(nodes: list[dict[str, float]], asked: Resources) -> Granted:
    """Answers what was asked from the resources of each node; ``auto`` GPUs are whole ones until they are measured.

    Raises:
        ConfigError: no node can ever run a trial.
    """
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
    return Granted(Share(cpus, gpus), slots, concurrent, most_concurrent, asked)


def _slots(nodes: list[dict[str, float]], cpus: int, gpus: float) -> int:
    """How many shares of ``cpus`` cores and ``gpus`` GPUs all nodes have."""
    slots = 0
    for node in nodes:
        fits = int(node.get("CPU", 0.0) // cpus)
        slots += fits if gpus == 0 else min(fits, int(node.get("GPU", 0.0) / gpus + 1e-6))
    return slots
