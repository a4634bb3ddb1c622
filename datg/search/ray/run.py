"""Runs trials, references and final evaluations on Ray until none is missing, or a stop is asked for.

Ray Tune schedules trials; when one ends, pruned ones included, a separate task evaluates its best weights on novel classes.
References are trained where no trial needs the slot. The data set reaches each node once, through the object store. Ray's own
state is disposable.
"""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from datg.data.catalog import Dataset
from datg.runtime.precision import has_bf16_units, slow_bf16
from datg.runtime.signals import StopRequest
from datg.search.ray.capacity import Capacity
from datg.search.ray.lost_ray import leaving_without_ray
from datg.search.ray.nodes import ClusterNodes
from datg.search.ray.resources import AUTO, Allocation
from datg.search.ray.retries import Retries
from datg.search.ray.scheduler import StudyScheduler
from datg.search.ray.searcher import StudySearcher
from datg.search.ray.spare_tasks import SpareTasks
from datg.search.ray.stages import NETWORK_STAGE, share_gpus, train_network
from datg.search.ray.stop_notice import StopNotice
from datg.search.ray.supervisor import WAIT_SECONDS, SearchSupervisor
from datg.search.ray.watchdog import Watchdog
from datg.search.ray.worker import system_message, train
from datg.search.study.driver import SearchDriver
from datg.storage.files import is_disk_full
from datg.storage.lease import TRIAL_LEASE
from datg.trial.final_evaluation import ON_FRESH_VALIDATION


def run_trials(
    driver: SearchDriver,
    dataset: Dataset,
    allocation: Allocation,
    stop: StopRequest,
    notify: Callable[[str], None],
) -> SpareTasks:
    """Run trials, references and evaluations until none is missing or a stop is requested; Ray must have been started.

    Args:
        driver: decides.
        dataset: put into the object store once.
        allocation: what :func:`start_ray` returned.
        stop: asked all the time.
        notify: told what the user should know.

    Returns:
        Evaluations and references; those that failed for good have an error.
    """
    stop.install()
    notice = StopNotice(driver.folder.stop, cluster=allocation.asked.address is not None)
    notice.clear()
    shutil.rmtree(driver.folder.tune, ignore_errors=True)
    data = ray.put(dataset)

    def watched() -> list[Path]:
        leases = [driver.folder.trial(number) / TRIAL_LEASE for number in driver.progress.running]
        leases += tasks.leases
        return leases + ([driver.folder.network / TRIAL_LEASE] if driver.progress.preparing == NETWORK_STAGE else [])

    watchdog = Watchdog(allocation.asked.trial_timeout, watched)
    capacity = Capacity(allocation, notify, lambda: driver.progress.missing)
    capacity.nodes.notify = notify
    if allocation.per_trial.gpus == 0 and driver.settings.config.training.precision == "bf16":
        _tell_of_slow_bf16(capacity.nodes, notify)
    supervisor = SearchSupervisor(
        driver, stop, notice, watchdog, [driver.take_requests, lambda: tasks.advance(0), capacity.look]
    )
    tasks = SpareTasks(driver, data, capacity, stop, notice.place)
    try:
        with leaving_without_ray(stop):
            _run_all(driver, data, capacity, supervisor, tasks)
    finally:
        notice.clear()
        capacity.end()
        with supervisor.stop_on_storage_error():
            driver.close()
    return tasks


def _tell_of_slow_bf16(nodes: ClusterNodes, notify: Callable[[str], None]) -> None:
    """Name the nodes whose CPUs have no units for bf16."""
    if nodes.reports:
        lacking = [report.name for report in nodes.reports if report.found.get("bf16") is False]
    else:
        lacking = [] if has_bf16_units(torch.device("cpu")) else ["this machine"]
    if lacking:
        notify(slow_bf16(", ".join(lacking)))


def _run_all(
    driver: SearchDriver, data: Any, capacity: Capacity, supervisor: SearchSupervisor, tasks: SpareTasks
) -> None:
    """Run everything in order: the network and measurement before trials, references, trials, finalists."""
    if not train_network(driver, data, capacity, supervisor):
        return
    allocation = capacity.allocation
    if allocation.asked.gpus_per_trial == AUTO and allocation.per_trial.gpus > 0:
        share_gpus(driver, data, capacity, supervisor)
    for name in driver.settings.references:  # first, because they take longest
        tasks.add_reference(name)
    for number in driver.ended:
        tasks.evaluate_trial(number)
    _tune(driver, data, capacity, supervisor, tasks)
    for number in driver.ended:  # one that was stopped while it waited to be tried again has not come through Tune
        tasks.evaluate_trial(number)
    _finish(tasks, supervisor)
    if not supervisor.should_stop():
        _score_finalists(driver, tasks)
        _finish(tasks, supervisor)


def _score_finalists(driver: SearchDriver, tasks: SpareTasks) -> None:
    """Have the trials that a choice is among scored on validation tasks that influenced no choice."""
    finalists = driver.selection().finalists
    driver.progress.finalists = len(finalists)
    for record in finalists:
        tasks.evaluate_trial(record.number, ON_FRESH_VALIDATION)


def _finish(tasks: SpareTasks, supervisor: SearchSupervisor) -> None:
    """Wait for tasks; after a stop only for trainings, which get a while to save."""
    with supervisor.stop_on_storage_error():
        while tasks.unfinished and not supervisor.should_stop():
            tasks.advance(WAIT_SECONDS)
        while tasks.training and not supervisor.out_of_patience:
            tasks.advance(WAIT_SECONDS)


def _tune(driver: SearchDriver, data: Any, capacity: Capacity, supervisor: SearchSupervisor, tasks: SpareTasks) -> None:
    """Run all trials."""

    def placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        share = config["resources"]
        bundle = {"CPU": share["cpus"], "GPU": share["gpus"]}
        selected: dict[str, Any] = {"bundle_label_selector": [config["labels"]]} if config["labels"] else {}
        return tune.PlacementGroupFactory([bundle], **selected)

    trainable = tune.with_resources(tune.with_parameters(train, data=data), placement)
    retries = Retries(capacity.allocation.asked.max_failures)
    searcher = StudySearcher(driver, supervisor, retries, tasks.evaluate_trial, capacity)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(driver, supervisor, searcher.note_error),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial_{trial.config['number']}",
            trial_dirname_creator=lambda trial: f"trial_{trial.config['number']}_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(driver.folder.path),
            verbose=0,
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
