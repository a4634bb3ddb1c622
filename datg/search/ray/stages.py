"""What is done before the first trial: training the network that classes are clustered by, measuring GPUs."""

import time
from typing import Any

import ray

from datg.errors import ConfigError
from datg.search.ray.capacity import Capacity
from datg.search.ray.gpu_sharing import fraction, trials_at_once
from datg.search.ray.retries import Retries
from datg.search.ray.supervisor import WAIT_SECONDS, SearchSupervisor
from datg.search.ray.worker import describe_error, measure_need, on_share, train_apart
from datg.search.study.driver import SearchDriver
from datg.storage.files import is_disk_full

INTERRUPTED = "interrupted"
NETWORK_STAGE = "training the network that is needed before the first trial"


def share_gpus(driver: SearchDriver, data: Any, capacity: Capacity, supervisor: SearchSupervisor) -> None:
    """Measure how many trials fit on a GPU, and have them share it; nothing changes where a stop came first."""
    allocation = capacity.allocation
    driver.progress.preparing = "measuring how many trials share a GPU"
    task = on_share(measure_need, allocation)  # of a whole GPU, as long as it is not measured
    waiting = [task.remote(data, config, allocation.per_trial) for config in driver.kinds_of_trials()]
    needs = []
    while waiting and not supervisor.should_stop():
        done, waiting = ray.wait(waiting, timeout=WAIT_SECONDS)
        try:
            needs += ray.get(done)
        except ray.exceptions.RayError as error:
            cause = describe_error(getattr(error, "cause", None) or error)
            raise ConfigError(
                f"`--gpus-per-trial` auto: the trial that was to be measured failed ({cause}); say how much of a GPU a trial "
                "gets, for instance --gpus-per-trial 0.5."
            ) from error
    driver.progress.preparing = ""
    if waiting:
        for reference in waiting:
            ray.cancel(reference, force=True)
        return
    number, sentence = trials_at_once(needs)
    capacity.notify(sentence)
    capacity.share(fraction(number))


def train_network(driver: SearchDriver, data: Any, capacity: Capacity, supervisor: SearchSupervisor) -> bool:
    """Train the network that the strategy needs, if it needs one; return whether the search can go on."""
    config = driver.network_to_train()
    if config is None:
        return True
    driver.progress.preparing = NETWORK_STAGE
    retries, outcome = Retries(capacity.allocation.asked.max_failures), ""
    while not outcome:
        allocation = capacity.allocation
        task = on_share(train_apart, allocation)
        try:
            training = task.remote(data, config, driver.folder.network, supervisor.notice.place, allocation.per_trial)
            outcome = _outcome_of(training, supervisor)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)  # what the training itself raised
            if is_disk_full(cause or error):
                supervisor.stop.ask(f"{driver.folder.network} cannot be written (no room)")
                return False
            wait = retries.wait(NETWORK_STAGE, outage=True) if cause is None else None
            if wait is None:
                raise ConfigError(
                    f"the network that is needed before any trial could not be trained ({str(error).strip().splitlines()[-1]}); "
                    "choose other `strategy.cluster_features`, or give a `strategy.cluster_checkpoint`."
                ) from error
            outcome = _pause(wait, supervisor)
    driver.progress.preparing = ""
    return outcome != INTERRUPTED


def _outcome_of(training: Any, supervisor: SearchSupervisor) -> str:
    """Wait for a training and return its outcome; after a stop, wait only for the while that it gets to save."""
    waiting = [training]
    while waiting and not supervisor.out_of_patience:
        supervisor.should_stop()
        done, waiting = ray.wait(waiting, timeout=WAIT_SECONDS)
        if done:
            return str(ray.get(done[0]))
    return INTERRUPTED


def _pause(seconds: float, supervisor: SearchSupervisor) -> str:
    """Wait; return interrupted where a stop came meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if supervisor.should_stop():
            return INTERRUPTED
        time.sleep(WAIT_SECONDS)
    return ""
