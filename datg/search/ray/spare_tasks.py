"""Work beside the trials, as Ray tasks in the slots that no trial needs: evaluations of ended trials, and references."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from datg.errors import DatgError, StateError, TrialDiverged, TrialTaken
from datg.runtime.signals import StopRequest
from datg.search.ray.capacity import Capacity
from datg.search.ray.retries import Retries
from datg.search.ray.worker import describe_error, evaluate, on_share, system_message, train_apart
from datg.search.study.driver import SearchDriver
from datg.storage.files import is_disk_full
from datg.storage.lease import EVALUATION_LEASE, TRIAL_LEASE, revoke
from datg.trial.final_evaluation import ON_NOVEL, EvaluationKind
from datg.trial.folder import BEST, read_reports
from datg.trial.records import lacks_evaluation, read_outcome


@dataclass(frozen=True)
class _Task:
    """Hold what waits for a slot.

    Attributes:
        what: it would be, in a sentence that says that it failed.
        folder: that it works in.
        lease: of the folder.
        start: returns Ray's reference to it.
        end: takes its result.
        fail: takes the cause of its failure; returns whether the failure is dealt with.
    """

    what: str
    folder: Path
    lease: str
    start: Callable[[], Any]
    end: Callable[[Any], None]
    fail: Callable[[BaseException], bool]


class SpareTasks:
    """Keep tasks waiting while trials take all slots, so that no trial ever waits for one.

    Attributes:
        errors: of tasks that failed for good, by what failed.
        damaged: folders whose weights cannot be read.
    """

    def __init__(self, driver: SearchDriver, data: Any, capacity: Capacity, stop: StopRequest, place: str) -> None:
        """Take on nothing yet; trainings hear at ``place`` that they are to end."""
        self._capacity = capacity
        self._driver, self._data, self._stop, self._place = driver, data, stop, place
        self._queue: dict[_Task, float] = {}  # to the monotonic second from which on it may start
        self._retries = Retries(capacity.allocation.asked.max_failures)
        self._running: dict[Any, _Task] = {}
        self._taken: set[tuple[int, EvaluationKind]] = set()
        self.errors: dict[str, str] = {}
        self.damaged: set[Path] = set()

    @property
    def leases(self) -> list[Path]:
        """Return the leases of tasks that have begun and not ended."""
        return [task.folder / task.lease for task in self._running.values()]

    @property
    def unfinished(self) -> bool:
        """Return whether any is waiting or running."""
        return bool(self._queue or self._running)

    @property
    def training(self) -> bool:
        """Return whether a reference is being trained."""
        return any(task.lease == TRIAL_LEASE for task in self._running.values())

    def evaluate_trial(self, number: int, kind: EvaluationKind = ON_NOVEL) -> None:
        """Take on an ended trial that has best weights and no evaluation of this kind yet; once, however often it is asked."""
        if (number, kind) in self._taken:
            return
        self._taken.add((number, kind))

        def count() -> None:
            self._driver.progress.evaluated[kind.part] += 1

        self._evaluate(self._driver.folder.trial(number), f"trial {number}", kind, count)

    def add_reference(self, name: str) -> None:
        """Take on a reference: to be trained, if it has not ended, and evaluated."""
        folder, who = self._driver.folder.reference(name), f"reference {name}"

        def count() -> None:
            self._driver.progress.references_done += 1

        def evaluate_weights() -> None:
            if lacks_evaluation(folder, ON_NOVEL.file):
                self._evaluate(folder, who, ON_NOVEL, count)
            else:  # done, or without weights
                count()

        def finish(outcome: str, error: str = "") -> None:
            self._driver.references.finish(name, outcome, error)
            evaluate_weights()

        def start() -> Any:
            config, allocation = self._driver.references.start(name), self._capacity.allocation
            return on_share(train_apart, allocation).remote(
                self._data, config, folder, self._place, allocation.per_trial
            )

        def end(outcome: str) -> None:
            if outcome != "interrupted":
                finish(outcome)

        def fail(cause: BaseException) -> bool:
            if isinstance(cause, TrialTaken):
                return True  # another driver goes on with it
            final = isinstance(cause, DatgError) and not isinstance(cause, StateError)  # the same on the next try
            if final:
                finish("diverged" if isinstance(cause, TrialDiverged) else "error", str(cause))
            return final

        if read_outcome(folder) is None:
            self._queue[_Task(f"{who} not trained", folder, TRIAL_LEASE, start, end, fail)] = 0.0
        else:
            evaluate_weights()

    def _evaluate(self, folder: Path, who: str, kind: EvaluationKind, count: Callable[[], None]) -> None:
        what = f"{who} not evaluated"

        def start() -> Any:
            revoke(folder / EVALUATION_LEASE)
            allocation = self._capacity.allocation
            return on_share(evaluate, allocation).remote(self._data, folder, allocation.per_trial, kind)

        def fail(cause: BaseException) -> bool:
            if isinstance(cause, StateError):
                self.damaged.add(folder)
            return False

        if lacks_evaluation(folder, kind.file):
            self._queue[_Task(what, folder, EVALUATION_LEASE, start, lambda _: count(), fail)] = 0.0
        elif (folder / kind.file).exists():
            count()
        elif read_reports(folder):
            self.damaged.add(folder)
            self.errors[what] = f"{folder / BEST} is missing"

    def advance(self, timeout: float) -> None:
        """Start what has a slot, and note those that have ended, waiting for at most ``timeout`` seconds for all."""
        for task in [task for task, due in self._queue.items() if due <= time.monotonic()]:
            if self._free_slots() <= 0 or self._stop.requested:
                break
            del self._queue[task]
            self._running[task.start()] = task
        if not self._running:
            time.sleep(timeout)
            return
        done, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=timeout)
        for reference in done:
            task = self._running.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)  # what the task itself raised
                wait = self._retries.wait(task.what, outage=True) if cause is None else None
                if wait is None:
                    self._note(task, cause or error)
                else:
                    self._queue[task] = time.monotonic() + wait
            else:
                task.end(result)

    def _free_slots(self) -> int:
        """Return how many slots neither tasks have nor trials, the next ones to come included."""
        allocation = self._capacity.allocation
        return allocation.slots - min(self._driver.progress.missing, allocation.concurrent) - len(self._running)

    def _note(self, task: _Task, cause: BaseException) -> None:
        if is_disk_full(cause):
            self._stop.ask(f"{task.folder} cannot be written ({system_message(cause)})")
        elif not task.fail(cause):
            self.errors[task.what] = describe_error(cause)
