"""A trial for Ray's processes that sleeps instead of training; it imports nothing heavy, so that many fit on a machine."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any


def trial_of(steps: int, interval: float) -> Callable[..., None]:
    """Return a function in the place of the worker's ``train``: ``steps`` reports, ``interval`` seconds apart."""

    def train(tune_config: dict[str, Any], data: Any, resources: Any) -> None:
        from ray import tune

        from datg.storage.files import write_text
        from datg.trial.folder import PROGRESS, ValidationReport, report_lines

        number, history = tune_config["number"], []
        for step in range(1, steps + 1):
            time.sleep(interval)
            value = 0.2 + number * 1e-4 + step / steps * 0.1  # as in driver_speed: none is pruned
            losses = {"loss": 1.0, "ce": 1.0}
            entry = ValidationReport(
                10 * step, time.time(), step * interval, losses, value, 0.01, value, 0.01, 10 * step
            )
            history.append(asdict(entry))
            write_text(Path(tune_config["folder"]) / PROGRESS, report_lines(history))
            tune.report({"iteration": 10 * step})
        tune.report({"iteration": 10 * steps, "outcome": "finished", "error": ""})

    return train
