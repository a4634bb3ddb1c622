"""The final evaluations of ended trials, as Ray tasks in the slots that no trial needs."""

from collections import deque
from typing import Any

import ray

from datg.claim import EVALUATOR, revoke
from datg.errors import StateError
from datg.final_evaluation import EVALUATION
from datg.records import lacks_evaluation
from datg.search.driver import SearchDriver
from datg.search.grant import Granted
from datg.search.worker import evaluate, lacks_room, one_line, reason_of
from datg.stop import StopRequest
from datg.trial import BEST, read_progress


class Evaluations:
    """Keeps evaluations waiting while trials take all slots, so that no trial ever waits for one.

    Attributes:
        granted: by the cluster.
        errors: of those that failed for good, by trial number.
        damaged: numbers of trials whose weights cannot be read.
    """

    def __init__(self, driver: SearchDriver, data: Any, granted: Granted, stop: StopRequest) -> None:
        self.granted = granted
        self._driver, self._data, self._stop = driver, data, stop
        self._queue: deque[int] = deque()
        self._running: dict[Any, int] = {}
        self.errors: dict[int, str] = {}
        self.damaged: set[int] = set()

    @property
    def running(self) -> list[int]:
        """Trials whose evaluation has begun and not ended."""
        return list(self._running.values())

    @property
    def unfinished(self) -> bool:
        """Whether any is waiting or running."""
        return bool(self._queue or self._running)

    def add(self, number: int) -> None:
        """Takes on a trial that has best weights and no evaluation yet."""
        folder = self._driver.folder.trial(number)
        if lacks_evaluation(folder):
            self._queue.append(number)
        elif (folder / EVALUATION).exists():
            self._driver.situation.evaluated += 1
        elif read_progress(folder):
            self.damaged.add(number)
            self.errors[number] = f"{folder / BEST} is missing"

    def advance(self, timeout: float) -> None:
        """Starts what has a slot, and notes those that have ended, waiting for at most ``timeout`` seconds for all."""
        while self._queue and self._free_slots() > 0:
            self._start(self._queue.popleft())
        if not self._running:
            return
        done, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=timeout)
        for reference in done:
            number = self._running.pop(reference)
            try:
                ray.get(reference)
                self._driver.situation.evaluated += 1
            except ray.exceptions.RayError as error:
                self._note(number, error)

    def _free_slots(self) -> int:
        """Slots that neither evaluations have nor trials, the next ones to come included."""
        situation = self._driver.situation
        missing = situation.asked - sum(situation.outcomes.values())
        return self.granted.slots - min(missing, self.granted.concurrent) - len(self._running)

    def _start(self, number: int) -> None:
        folder, share = self._driver.folder.trial(number), self.granted.share
        revoke(folder / EVALUATOR)
        task = evaluate.options(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=self.granted.asked.max_failures)
        self._running[task.remote(self._data, folder, share)] = number

    def _note(self, number: int, error: ray.exceptions.RayError) -> None:
        cause = getattr(error, "cause", None) or error
        if lacks_room(cause):
            self._stop.ask(f"{self._driver.folder.trial(number)} cannot be written ({reason_of(cause)})")
            return
        if isinstance(cause, StateError):
            self.damaged.add(number)
        self.errors[number] = one_line(cause)
