"""Evaluations of ended trials, as Ray tasks in the slots that no trial needs."""

from collections import deque
from typing import Any

import ray

from datg.errors import StateError
from datg.runtime.signals import StopRequest
from datg.search.ray.resources import Allocation
from datg.search.ray.worker import describe_error, evaluate, system_message
from datg.search.study.driver import SearchDriver
from datg.storage.files import is_disk_full
from datg.storage.lease import EVALUATION_LEASE, revoke
from datg.trial.final_evaluation import EvaluationKind
from datg.trial.folder import BEST, read_reports
from datg.trial.records import lacks_evaluation


class Evaluations:
    """Keeps evaluations of one kind waiting while trials take all slots, so that no trial ever waits for one.

    Attributes:
        allocation: by the cluster.
        errors: of those that failed for good, by trial number.
        damaged: numbers of trials whose weights cannot be read.
    """

    def __init__(
        self, driver: SearchDriver, data: Any, allocation: Allocation, stop: StopRequest, kind: EvaluationKind
    ) -> None:
        self.allocation, self.kind = allocation, kind
        self._driver, self._data, self._stop = driver, data, stop
        self._queue: deque[int] = deque()
        self._running: dict[Any, int] = {}
        self.errors: dict[int, str] = {}
        self.damaged: set[int] = set()

    @property
    def running(self) -> list[int]:
        """Return trials whose evaluation has begun and not ended."""
        return list(self._running.values())

    @property
    def unfinished(self) -> bool:
        """Return whether any is waiting or running."""
        return bool(self._queue or self._running)

    def add(self, number: int) -> None:
        """Take on a trial that has best weights and no evaluation yet."""
        folder = self._driver.folder.trial(number)
        if lacks_evaluation(folder, self.kind.file):
            self._queue.append(number)
        elif (folder / self.kind.file).exists():
            self._count()
        elif read_reports(folder):
            self.damaged.add(number)
            self.errors[number] = f"{folder / BEST} is missing"

    def advance(self, timeout: float) -> None:
        """Start what has a slot, and note those that have ended, waiting for at most ``timeout`` seconds for all."""
        while self._queue and self._free_slots() > 0:
            self._start(self._queue.popleft())
        if not self._running:
            return
        done, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=timeout)
        for reference in done:
            number = self._running.pop(reference)
            try:
                ray.get(reference)
                self._count()
            except ray.exceptions.RayError as error:
                self._note(number, error)

    def _count(self) -> None:
        self._driver.progress.evaluated[self.kind.part] += 1

    def _free_slots(self) -> int:
        """Return how many slots neither evaluations have nor trials, the next ones to come included."""
        progress = self._driver.progress
        missing = progress.asked - sum(progress.outcomes.values())
        return self.allocation.slots - min(missing, self.allocation.concurrent) - len(self._running)

    def _start(self, number: int) -> None:
        folder, share = self._driver.folder.trial(number), self.allocation.per_trial
        revoke(folder / EVALUATION_LEASE)
        task = evaluate.options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_retries=self.allocation.asked.max_failures
        )
        self._running[task.remote(self._data, folder, share, self.kind)] = number

    def _note(self, number: int, error: ray.exceptions.RayError) -> None:
        cause = getattr(error, "cause", None) or error
        if is_disk_full(cause):
            self._stop.ask(f"{self._driver.folder.trial(number)} cannot be written ({system_message(cause)})")
            return
        if isinstance(cause, StateError):
            self.damaged.add(number)
        self.errors[number] = describe_error(cause)
