"""What is done when Ray itself is gone: a signal to all processes of a machine ends its node before the driver has ended."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from datg.runtime.signals import StopRequest

SECONDS_BETWEEN_LOOKS = 0.1
NODE = "raylet"  # the process of Ray's node; its library ends a driver without a word, and with exit code 1, once that is gone


@contextlib.contextmanager
def leaving_without_ray(stop: StopRequest) -> Iterator[None]:
    """Leave the process with the exit code of a signal that has come, as soon as the node that was started here is gone.

    Only within the block, which ends before Ray is shut down in order. A node elsewhere, and one that dies by itself, is not
    looked at.
    """
    nodes, over = _running_nodes(), threading.Event()

    def watch() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            if stop.signalled and not all(_runs(node) for node in nodes):
                stop.leave()

    watcher = threading.Thread(target=watch, name="lost Ray", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _running_nodes() -> list[int]:
    """Return the ids of the node processes that this process has started; none where there is no /proc."""
    found = []
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in children.read_text().split()]
    return [child for child in found if _runs(child)]


def _runs(process: int) -> bool:
    """Return whether a process is one of Ray's nodes and has not ended."""
    try:
        name, _, state = Path(f"/proc/{process}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name == NODE and not state.strip().startswith("Z")
