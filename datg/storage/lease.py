"""A lease on a trial's folder: only the process whose token is in the lease file may write, and the file's time is its heartbeat.

A machine that was cut off from the others may go on with a trial that has long been given to another one. Whoever starts a
trial takes a lease on its folder; whoever finds, before writing, that the lease is no longer its own leaves without writing.
"""

import contextlib
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datg.errors import TrialTaken
from datg.storage.files import write_json

if TYPE_CHECKING:
    import torch

TRIAL_LEASE, EVALUATION_LEASE = "worker.json", "evaluator.json"  # of a trial, and of its final evaluation
SECONDS_BETWEEN_HEARTBEATS = 10.0  # where no watchdog wants them more often


@dataclass(frozen=True)
class Worker:
    """Identify a process that works on a trial.

    Attributes:
        threads: that torch uses; 0 for a driver that has taken a folder from whoever worked there before.
        device: what it computes on.
        processor: the instruction set torch chose; results are equal to the bit only with the same one.
        token: of this lease alone.
    """

    host: str
    pid: int
    threads: int
    device: str
    processor: str
    token: str

    @property
    def is_active(self) -> bool:
        """Return whether this is a process that computes."""
        return self.threads > 0


class Lease:
    """Hold this process's right to write into a folder."""

    def __init__(
        self, path: Path, device: "torch.device | str", *, heartbeat: float = SECONDS_BETWEEN_HEARTBEATS
    ) -> None:
        """Take the work that the file ``path`` stands for, from whoever had it.

        Args:
            path: of the lease.
            device: that this process computes on.
            heartbeat: seconds between two signs of life.
        """
        import torch  # late: who only reads leases needs none

        threads, processor = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
        self._path, self._worker = path, _this_process(threads=threads, device=str(device), processor=processor)
        self._signed, self._every = time.monotonic(), heartbeat
        self._write()

    def _write(self) -> None:
        write_json(self._path, asdict(self._worker))

    def check(self) -> None:
        """Check, before writing, that the lease is still this process's.

        Raises:
            TrialTaken: another process has taken the folder.
        """
        lease = read_lease(self._path)
        if lease is None:  # lost, not taken
            self._write()
        elif lease.token != self._worker.token:
            raise TrialTaken(
                f"{self._path.parent} has been taken over by process {lease.pid} on {lease.host}; this process leaves it alone."
            )

    def heartbeat(self) -> None:
        """Show that this process is alive, at intervals however often it is called."""
        if time.monotonic() - self._signed >= self._every:
            self._signed = time.monotonic()
            if read_lease(self._path) == self._worker:  # not for another one
                with contextlib.suppress(OSError):
                    os.utime(self._path)


def read_lease(path: Path) -> Worker | None:
    """Return who works, or worked last; None if that is not known."""
    try:
        return Worker(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def last_heartbeat(path: Path) -> float | None:
    """Return when the worker was alive for the last time, in seconds since 1970; None without a lease."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def revoke(path: Path) -> None:
    """Take the work from whoever had it, for a worker that is yet to start."""
    write_json(path, asdict(_this_process(threads=0, device="", processor="")))


def _this_process(*, threads: int, device: str, processor: str) -> Worker:
    return Worker(socket.gethostname(), os.getpid(), threads, device, processor, token=uuid.uuid4().hex)
