"""How running trials hear that they are to save and end: by a file on one machine, through Ray on a cluster.

A client of a network file system may take a minute to see a new file. Through Ray a process waits for one answer, which costs
nothing until it comes.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SECONDS_BETWEEN_LOOKS = 1.0
MOST_WAITING = 100_000  # processes, each once
_THROUGH_RAY = "ray:"


class StopNotice:
    """Tell everything that runs for a search to end.

    Attributes:
        place: where :func:`heard_at` is to listen.
    """

    def __init__(self, file: Path, *, cluster: bool) -> None:
        """Tell nothing yet; ``file`` is used where there is no ``cluster``."""
        self._file, self._bell = file, None
        self.place = str(file)
        if cluster:
            name = f"stop-{uuid.uuid4().hex}"
            # On the driver's node, which is the one that the search cannot go on without.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            options = {"name": name, "max_concurrency": MOST_WAITING, "scheduling_strategy": here}
            self._bell = _Bell.options(**options).remote()  # type: ignore[attr-defined]
            self.place = f"{_THROUGH_RAY}{name}"

    def give(self) -> None:
        """Tell all to end."""
        if self._bell is not None:
            self._bell.ring.remote()
        else:
            with contextlib.suppress(OSError):  # a full disk: trials then end without saving
                self._file.touch()

    def clear(self) -> None:
        """Forget that a notice was given: by this search, or by one that ended before it could."""
        self._file.unlink(missing_ok=True)


@ray.remote(num_cpus=0)
class _Bell:
    """Answers all that wait, once it is rung."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        await self._rung.wait()

    async def ring(self) -> None:
        self._rung.set()


def heard_at(place: str, own: Path | None = None) -> Callable[[], bool]:
    """Return what says whether a notice was given at ``place``, or the file ``own`` is there.

    It looks about once a second however often it is called.
    """
    given = (
        _heard_through_ray(place.removeprefix(_THROUGH_RAY)) if place.startswith(_THROUGH_RAY) else Path(place).exists
    )
    looked, heard = 0.0, False

    def stop() -> bool:
        nonlocal looked, heard
        if time.monotonic() - looked >= SECONDS_BETWEEN_LOOKS:
            looked, heard = time.monotonic(), heard or given() or (own is not None and own.exists())
        return heard

    return stop


@cache  # a process waits for one answer, however many trials it runs
def _heard_through_ray(name: str) -> Callable[[], bool]:
    answer: Any = None

    def is_there() -> bool:
        nonlocal answer
        try:
            answer = ray.get_actor(name).wait.remote() if answer is None else answer
            done, _ = ray.wait([answer], timeout=0)
            if done:
                ray.get(done)
            return bool(done)
        except (ray.exceptions.RayActorError, ValueError):  # out of reach: asked again the next time
            answer = None
            return False

    return is_there
