"""What Tune's scheduler is: it passes validations to the driver, and stops what that prunes."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from datg.search.ray.supervisor import SearchSupervisor, Unsaved
from datg.search.study.driver import SearchDriver


class StudyScheduler(Unsaved, FIFOScheduler):
    """Pass reports to the driver and stop what it prunes; ``on_error`` gets a trial's id and what Ray wrote of its errors."""

    def __init__(
        self, driver: SearchDriver, supervisor: SearchSupervisor, on_error: Callable[[str, str], None]
    ) -> None:
        super().__init__()
        self._driver, self._supervisor, self._on_error = driver, supervisor, on_error

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Take a validation; return whether Tune is to go on with the trial or to stop it."""
        prune = False
        if "outcome" not in result:
            with self._supervisor.stop_on_storage_error():
                prune = self._driver.report(trial.config["number"])
        return str(TrialScheduler.STOP if prune else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Pass on what Ray wrote, before the search algorithm is told that the trial is over."""
        text = ""
        with contextlib.suppress(OSError, TypeError):  # `get_error` reads a copy of the file, which comes later
            text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
        self._on_error(trial.trial_id, text)
