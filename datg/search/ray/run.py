"""Runs trials and final evaluations on Ray until none is missing, or a stop is asked for.

Ray Tune schedules trials; when one ends, pruned ones included, a separate task evaluates its best weights on novel classes. The
data set reaches each node once, through the object store. Ray's own state is disposable.
"""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune

from datg.data.catalog import Dataset
from datg.runtime.signals import StopRequest
from datg.search.ray.evaluations import Evaluations
from datg.search.ray.resources import AUTO, Allocation
from datg.search.ray.scheduler import StudyScheduler
from datg.search.ray.searcher import StudySearcher
from datg.search.ray.stages import NETWORK_STAGE, share_gpus, train_network
from datg.search.ray.supervisor import WAIT_SECONDS, SearchSupervisor
from datg.search.ray.watchdog import Watchdog
from datg.search.ray.worker import system_message, train
from datg.search.study.driver import SearchDriver
from datg.storage.files import is_disk_full
from datg.storage.lease import EVALUATION_LEASE, TRIAL_LEASE
from datg.trial.final_evaluation import ON_FRESH_VALIDATION, ON_NOVEL
from datg.trial.selection import Selection


def run_trials(
    driver: SearchDriver,
    dataset: Dataset,
    allocation: Allocation,
    stop: StopRequest,
    notify: Callable[[str], None],
) -> Evaluations:
    """Run trials and final evaluations until none is missing or a stop is requested; Ray must have been started.

    Args:
        driver: decides.
        dataset: put into the object store once.
        allocation: what :func:`start_ray` returned.
        stop: asked all the time.
        notify: told what the user should know.

    Returns:
        The final evaluations; those that failed for good have an error.
    """
    stop.install()
    driver.folder.stop.unlink(missing_ok=True)
    shutil.rmtree(driver.folder.tune, ignore_errors=True)
    data = ray.put(dataset)

    def watched() -> list[Path]:
        with supervisor.stop_on_storage_error():
            evaluations.advance(0)
        leases = [driver.folder.trial(number) / TRIAL_LEASE for number in driver.progress.running]
        under_way = evaluations.running + finalists.running
        leases += [driver.folder.trial(number) / EVALUATION_LEASE for number in under_way]
        return leases + ([driver.folder.network / TRIAL_LEASE] if driver.progress.preparing == NETWORK_STAGE else [])

    supervisor = SearchSupervisor(driver, stop, Watchdog(allocation.asked.trial_timeout, watched))
    evaluations = Evaluations(driver, data, allocation, stop, ON_NOVEL)
    finalists = Evaluations(driver, data, allocation, stop, ON_FRESH_VALIDATION)
    try:
        if train_network(driver, data, allocation, supervisor):
            if allocation.asked.gpus_per_trial == AUTO and allocation.per_trial.gpus > 0:
                allocation = share_gpus(driver, data, allocation, supervisor, notify)
                evaluations.allocation = finalists.allocation = allocation
            for number in driver.ended:
                evaluations.add(number)
            _tune(driver, data, allocation, supervisor, evaluations)
            _finish(evaluations, supervisor)
            if not supervisor.should_stop():
                _score(driver.selection(), finalists, driver)
                _finish(finalists, supervisor)
    finally:
        driver.folder.stop.unlink(missing_ok=True)
        with supervisor.stop_on_storage_error():
            driver.close()
    evaluations.errors |= finalists.errors
    evaluations.damaged |= finalists.damaged
    return evaluations


def _score(selection: Selection, finalists: Evaluations, driver: SearchDriver) -> None:
    """Have the trials that a choice is among scored on validation tasks that no choice has seen."""
    driver.progress.finalists = len(selection.finalists)
    for record in selection.finalists:
        finalists.add(record.number)


def _finish(evaluations: Evaluations, supervisor: SearchSupervisor) -> None:
    while evaluations.unfinished and not supervisor.should_stop():
        evaluations.advance(WAIT_SECONDS)


def _tune(
    driver: SearchDriver, data: Any, allocation: Allocation, supervisor: SearchSupervisor, evaluations: Evaluations
) -> None:
    """Run all trials."""
    placement = tune.PlacementGroupFactory([{"CPU": allocation.per_trial.cpus, "GPU": allocation.per_trial.gpus}])
    trainable = tune.with_resources(tune.with_parameters(train, data=data, resources=allocation.per_trial), placement)
    searcher = StudySearcher(driver, supervisor, evaluations.add)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(driver, supervisor, searcher.note_error),
            num_samples=-1,
            max_concurrent_trials=allocation.concurrent,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial_{trial.config['number']}",
            trial_dirname_creator=lambda trial: f"trial_{trial.config['number']}_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(driver.folder.path),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=allocation.asked.max_failures),
            stop=supervisor,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Tune warns of its own deprecations
        try:
            tuner.fit()
        except Exception as error:  # Tune's own files
            if not is_disk_full(error):
                raise
            supervisor.stop.ask(f"{driver.folder.tune} cannot be written ({system_message(error)})")
