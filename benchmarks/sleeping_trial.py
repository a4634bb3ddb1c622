"""A trial for Ray's processes that sleeps instead of training; it imports nothing heavy, so that many fit on a machine."""

import json
import time
from collections.abc import Callable
from typing import Any


def trial_of(steps: int, interval: float) -> Callable[..., None]:
    """A function in the place of the worker's ``train``: ``steps`` reports, ``interval`` seconds apart."""

    def train(tune_config: dict[str, Any], data: Any, share: Any) -> None:
        from ray import tune

        number = tune_config["number"]
        value = 0.0
        for step in range(1, steps + 1):
            time.sleep(interval)
            value = 0.2 + number * 1e-4 + step / steps * 0.1  # as in driver_speed: none is pruned
            progress = {
                "iteration": 10 * step,
                "time": time.time(),
                "seconds": step * interval,
                "losses": {"loss": 1.0, "ce": 1.0},
                "accuracy": value,
                "ci95": 0.01,
                "objective": value,
                "objective_ci95": 0.01,
                "best_iteration": 10 * step,
            }
            tune.report({"objective": value, "progress": json.dumps(progress)})
        tune.report({"objective": value, "outcome": "finished", "error": ""})

    return train
