"""Trials that give no sign of life any more: their processes are killed, and they are tried again from their checkpoints."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datg.storage.lease import Worker, last_heartbeat, read_lease

SECONDS_BETWEEN_LOOKS = 2.0


class Watchdog:
    """Look at the leases of running trials and evaluations."""

    def __init__(self, timeout: float | None, leases: Callable[[], Iterable[Path]]) -> None:
        """Allow ``timeout`` seconds without a finished iteration or block of tasks; None never kills.

        ``leases`` gives the files of those that compute now.
        """
        self._timeout, self._leases = timeout, leases
        self._looked = time.monotonic()
        self._killed: set[str] = set()

    def look(self) -> None:
        """Kill what hangs; cheap, to be called all the time."""
        if self._timeout is None or time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        for lease in self._leases():
            worker, signed = read_lease(lease), last_heartbeat(lease)
            if worker is None or signed is None or not worker.is_active or worker.token in self._killed:
                continue
            if time.time() - signed > self._timeout:
                self._killed.add(worker.token)
                _kill_there(worker, lease)


def _kill_there(worker: Worker, lease: Path) -> None:
    """Kill a process on its machine, if Ray still has that."""
    for node in ray.nodes():
        if node["Alive"] and node["NodeManagerHostname"] == worker.host:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
            _kill.options(scheduling_strategy=there).remote(worker, lease)
            return


@ray.remote(num_cpus=0)
def _kill(worker: Worker, lease: Path) -> None:
    """Kill the process, unless it does something else by now."""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{worker.pid}/cmdline").read_bytes()
        busy = b"ray::" in name and b"IDLE" not in name and worker.pid != os.getpid()
        if busy and os.uname().nodename == worker.host and read_lease(lease) == worker:
            os.kill(worker.pid, signal.SIGKILL)
