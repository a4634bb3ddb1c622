"""What Tune's scheduler is: it passes validations to the driver, and stops what that prunes."""

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from datg.search.ray.supervisor import SearchSupervisor, Unsaved
from datg.search.study.driver import SearchDriver


class StudyScheduler(Unsaved, FIFOScheduler):
    """Passes reports to the driver and stops what it prunes."""

    def __init__(self, driver: SearchDriver, supervisor: SearchSupervisor) -> None:
        super().__init__()
        self._driver, self._supervisor = driver, supervisor

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Take a validation; return whether Tune is to go on with the trial or to stop it."""
        prune = False
        if "outcome" not in result:
            with self._supervisor.stop_on_storage_error():
                prune = self._driver.report(trial.config["number"])
        return str(TrialScheduler.STOP if prune else TrialScheduler.CONTINUE)
