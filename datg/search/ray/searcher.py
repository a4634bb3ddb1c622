"""What Tune's search algorithm is: it hands out the driver's trials and passes on how they ended."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from datg.search.ray.capacity import Capacity
from datg.search.ray.retries import Retries
from datg.search.ray.supervisor import SearchSupervisor, Unsaved
from datg.search.ray.worker import CAUSE, NODE
from datg.search.study.driver import SearchDriver

DETAIL, GUESSES = "Worker exit detail:", "Some common causes"  # what Ray knows of a process, and what it only supposes
DIED = "died"


class StudySearcher(Unsaved, Searcher):
    """Hand out the driver's trials, and again what broke: to Tune, each try is a trial of its own."""

    def __init__(
        self,
        driver: SearchDriver,
        supervisor: SearchSupervisor,
        retries: Retries,
        on_end: Callable[[int], None],
        capacity: Capacity,
    ) -> None:
        """Hand out nothing yet.

        Args:
            driver: whose trials they are.
            supervisor: told of what asks for a stop.
            retries: says when what broke is tried again.
            on_end: told the number of a trial that has ended.
            capacity: says how many trials run at once now, with what, and which nodes may run one.
        """
        super().__init__()
        self._driver, self._supervisor, self._retries, self._on_end = driver, supervisor, retries, on_end
        self._capacity = capacity
        self._broke_on: dict[int, set[str]] = defaultdict(set)
        self._numbers: dict[str, int] = {}  # of the trials that are handed out
        self._errors: dict[str, str] = {}

    def note_error(self, trial_id: str, text: str) -> None:
        """Keep what Ray wrote of a trial's errors, until it is told that the trial is over."""
        self._errors[trial_id] = text

    def suggest(self, trial_id: str) -> Any:
        """Return what a worker needs to know of the next trial; nothing while all wait or no more fit, FINISHED at an end.

        What runs may break and be handed out again, so none is left only once nothing runs.
        """
        if self._supervisor.should_stop():  # asked here, too: Tune asks nobody else while nothing runs
            return str(Searcher.FINISHED)
        allocation = self._capacity.allocation
        if len(self._numbers) >= allocation.concurrent:
            over = self._driver.all_tried and not self._driver.unsettled
            return str(Searcher.FINISHED) if over else None
        number = None
        with self._supervisor.stop_on_storage_error():
            number = self._driver.next_trial()
        if number is None:
            waits = self._driver.unsettled and not self._supervisor.stop.requested
            return None if waits else str(Searcher.FINISHED)
        self._numbers[trial_id] = number
        folder = self._driver.folder
        (folder.trial(number) / CAUSE).unlink(missing_ok=True)  # of an earlier try
        return {
            "number": number,
            "folder": str(folder.trial(number)),
            "stop": self._supervisor.notice.place,
            "resources": asdict(allocation.per_trial),
            # Of the nodes that broke it none, as long as there are others.
            "labels": self._capacity.nodes.avoiding(self._broke_on[number]),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the driver how a trial ended, or that it was interrupted."""
        number, result = self._numbers.pop(trial_id), result or {}
        outcome, cause = result.get("outcome", ""), result.get("error", "")
        wait: float | None = None
        if error or not outcome:
            outcome, cause = _broken(self._driver.folder.trial(number), self._errors.pop(trial_id, ""))
            wait = self._retries.wait(number, outage=outcome == "failed")
            with contextlib.suppress(OSError):  # it did not come so far
                self._broke_on[number].add((self._driver.folder.trial(number) / NODE).read_text(encoding="utf-8"))
        if outcome == "blocked":
            self._supervisor.stop.ask(cause)
        with self._supervisor.stop_on_storage_error():
            if wait is not None and not self._driver.report(number):
                self._driver.release(number, again_after=wait)
            elif outcome in ("blocked", "interrupted") and not self._driver.report(number):
                self._driver.release(number, again_after=None if self._supervisor.stop.requested else 0.0)
            else:
                self._driver.finish(number, outcome, cause, iteration=result.get("iteration", 0))
                if number in self._driver.ended:  # one whose machine failed is resumed
                    self._on_end(number)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a resumed search is a new Tune run."""


def _broken(folder: Path, ray_text: str) -> tuple[str, str]:
    """Return outcome and cause of a try that broke, or that Tune stopped."""
    path = folder / CAUSE
    if path.exists():
        return "error", path.read_text(encoding="utf-8")
    return "failed", explain_failure(ray_text)


def explain_failure(ray_text: str) -> str:
    """Return in a line why a trial's process is no more, as far as Ray knows.

    Args:
        ray_text: what Ray wrote of the trial's errors, one after the other; the last one counts.
    """
    last = re.sub(r"\x1b\[[0-9;]*m", "", ray_text).rpartition("Failure # ")[2]
    lines = [line.strip() for line in last.splitlines() if line.strip()]
    if not lines:
        return "its process died, cause unknown"
    if DETAIL in last:
        return f"its process died (Ray: {last.partition(DETAIL)[2].partition(GUESSES)[0].strip()})"
    if DIED in lines[-1]:
        return f"its process died (Ray: {lines[-1]})"
    return f"its process failed: {lines[-1]}"
