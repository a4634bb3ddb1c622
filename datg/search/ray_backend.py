"""Ray: runs what the driver asks for, on one machine or a cluster. Its own state is disposable.

Ray Tune schedules trials; a small Searcher and a small TrialScheduler pass everything to the
:class:`~datg.search.driver.SearchDriver`. When a trial ends, pruned ones included, a separate task evaluates its best
weights on novel classes. The data set reaches each node once, through the object store.
"""

import json
import logging
import os
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from datg.data.catalog import Dataset
from datg.errors import ConfigError, DatgError, TrialDiverged
from datg.files import read_yaml, write_text
from datg.final_evaluation import EVALUATION, evaluate_best
from datg.memory import ENVIRONMENT
from datg.search.conduct import Resources
from datg.search.driver import SearchDriver
from datg.search.stop import StopRequest
from datg.trial import BEST, CONFIG, Progress, TrialData, run_trial
from datg.trial_config import TrialConfig

WAIT_SECONDS = 0.5
CONNECT_SECONDS = 5.0
CAUSE = "error.txt"
MAX_FAILURES = 2  # times that a trial is tried again after its machine or process died


@dataclass(frozen=True)
class Granted:
    """Resources that the cluster can give: as asked, with the open questions answered."""

    cpus: int
    gpus: float
    concurrent: int


def start_ray(resources: Resources) -> Granted:
    """Connects to Ray or starts it here, and checks that a trial fits on some node.

    Raises:
        ConfigError: no node can ever run a trial, or the cluster cannot be reached.
    """
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_AIR_NEW_OUTPUT="0",  # the new output engine ignores verbose=0
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    )
    if resources.address is None:
        _check_fits([{"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}], resources)
    else:
        _check_reachable(resources.address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(
            address=resources.address,
            include_dashboard=False if resources.address is None else None,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": ENVIRONMENT},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"`--address` {resources.address}: {str(error).splitlines()[0]}; if the cluster uses token authentication, set "
            "RAY_AUTH_MODE=token here, too."
        ) from error
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    try:
        return _check_fits(nodes, resources)
    except ConfigError:
        ray.shutdown()
        raise


def _check_reachable(address: str) -> None:
    """Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return  # auto, or a name that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"`--address` {address} does not answer ({error.strerror or error}); start Ray there first."
        ) from None


def _check_fits(nodes: list[dict[str, float]], resources: Resources) -> Granted:
    cpus = resources.cpus_per_trial
    most_gpus = max(node.get("GPU", 0.0) for node in nodes)
    gpus = min(1.0, most_gpus) if resources.gpus_per_trial is None else resources.gpus_per_trial
    at_once = 0
    for node in nodes:
        fits = int(node.get("CPU", 0.0) // cpus)
        at_once += fits if gpus == 0 else min(fits, int(node.get("GPU", 0.0) / gpus + 1e-6))
    if at_once == 0:
        most_cpus = max(node.get("CPU", 0.0) for node in nodes)
        raise ConfigError(
            f"a trial asks for {cpus} CPUs and {gpus:g} GPUs, but no node has both; the largest have {most_cpus:g} CPUs and "
            f"{most_gpus:g} GPUs: lower --cpus-per-trial or --gpus-per-trial."
        )
    return Granted(cpus, gpus, min(at_once, resources.max_concurrent or at_once))


def shut_down() -> None:
    """Leaves the cluster, or ends the one that was started here."""
    ray.shutdown()


def run_search(driver: SearchDriver, dataset: Dataset, granted: Granted, stop: StopRequest) -> dict[int, str]:
    """Runs trials and final evaluations until none is missing or a stop is requested; Ray must have been started.

    Args:
        driver: decides.
        dataset: put into the object store once.
        granted: what :func:`start_ray` returned.
        stop: asked all the time.

    Returns:
        Errors of final evaluations that failed for good, by trial number.
    """
    stop.install()
    data = ray.put(dataset)
    if not _train_embedding(driver, data, granted, stop):
        return {}
    evaluations = _Evaluations(driver, data, granted)
    for number in driver.ended:
        evaluations.start(number)
    placement = tune.PlacementGroupFactory([{"CPU": granted.cpus, "GPU": granted.gpus}])
    trainable = tune.with_resources(tune.with_parameters(_train, data=data, granted=granted), placement)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_StudySearcher(driver, evaluations.start),
            scheduler=_StudyScheduler(driver),
            num_samples=-1,
            max_concurrent_trials=granted.concurrent,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial_{trial.config['number']}",
            trial_dirname_creator=lambda trial: f"trial_{trial.config['number']}_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(driver.folder.path),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            stop=_Stopper(stop),
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Tune warns of its own deprecations
        tuner.fit()
    return evaluations.wait(stop)


class _StudySearcher(Searcher):
    """Hands out the driver's trials."""

    def __init__(self, driver: SearchDriver, on_end: Callable[[int], None]) -> None:
        super().__init__(metric="objective", mode="max")
        self._driver, self._on_end = driver, on_end
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        number = self._driver.next_trial()
        if number is None:
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = number
        return {"number": number, "folder": str(self._driver.folder.trial(number))}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._numbers[trial_id]
        result = result or {}
        if error or "outcome" not in result:
            self._driver.finish(number, "failed", _cause_of_death(self._driver.folder.trial(number)))
        else:
            self._driver.finish(number, result["outcome"], result.get("error", ""))
        self._on_end(number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Never used: a resumed search is a new Tune run."""


class _StudyScheduler(FIFOScheduler):
    """Passes reports to the driver and stops what it prunes."""

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "progress" not in result:
            return str(TrialScheduler.CONTINUE)
        prune = self._driver.report(trial.config["number"], Progress(**json.loads(result["progress"])))
        return str(TrialScheduler.STOP if prune else TrialScheduler.CONTINUE)


class _Stopper(tune.Stopper):
    """Asked by Tune in every turn of its loop, in the main thread."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self._stop.install()  # Tune has put its own handler for SIGUSR1
        return self._stop.requested


def _train(tune_config: dict[str, Any], data: Any, granted: Granted) -> None:
    """A trial, in a worker process."""
    device = _set_up_worker(granted)
    folder = Path(tune_config["folder"])
    dataset: Dataset = ray.get(data) if isinstance(data, ray.ObjectRef) else data
    config = TrialConfig.of(read_yaml(folder / CONFIG))
    last = {"objective": 0.0}

    def report(progress: Progress) -> None:
        last.update(objective=progress.objective)
        tune.report({**last, "progress": json.dumps(vars(progress))})  # Tune would flatten a mapping

    try:
        result = run_trial(config, TrialData.of(dataset), report=report, folder=folder, device=device)
    except TrialDiverged as error:
        tune.report({**last, "outcome": "diverged", "error": str(error)})
    except DatgError as error:  # would be the same on the next try
        tune.report({**last, "outcome": "failed", "error": str(error)})
    except Exception as error:  # a bug or the machine: tried again, and if it stays, the cause is told
        write_text(folder / CAUSE, f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    else:
        tune.report({**last, "outcome": result.outcome})


def _cause_of_death(folder: Path) -> str:
    path = folder / CAUSE
    return path.read_text() if path.exists() else "its process died (killed, out of memory, or its machine was lost)"


@ray.remote(max_retries=MAX_FAILURES)
def _train_apart(dataset: Dataset, config: TrialConfig, folder: Path, granted: Granted) -> None:
    """A training that is no trial, in a worker process; one that has ended already ends at once."""
    device = _set_up_worker(granted)
    run_trial(config, TrialData.of(dataset), report=lambda progress: None, folder=folder, device=device)


def _train_embedding(driver: SearchDriver, data: Any, granted: Granted, stop: StopRequest) -> bool:
    """Trains the network that base classes are clustered by, if there is to be one; whether the search can go on."""
    config = driver.embedding_config()
    if config is None:
        return True
    driver.situation.preparing = "training the network that classes are clustered by"
    task = _train_apart.options(num_cpus=granted.cpus, num_gpus=granted.gpus)
    waiting = [task.remote(data, config, driver.folder.embedding, granted)]
    while waiting and not stop.requested:
        done, waiting = ray.wait(waiting, timeout=WAIT_SECONDS)
        try:
            ray.get(done)
        except ray.exceptions.RayError as error:
            raise ConfigError(
                f"the network that classes are to be clustered by could not be trained ({str(error).strip().splitlines()[-1]}); "
                "choose other `strategy.cluster_features`, or give a `strategy.cluster_checkpoint`."
            ) from error
    driver.situation.preparing = ""
    return not waiting


@ray.remote(max_retries=MAX_FAILURES)
def _evaluate(dataset: Dataset, folder: Path, granted: Granted) -> None:
    """The final evaluation of a trial, in a worker process."""
    device = _set_up_worker(granted)
    evaluate_best(folder / BEST, dataset.part("novel"), device=str(device), save_to=folder / EVALUATION)


def _set_up_worker(granted: Granted) -> torch.device:
    torch.set_num_threads(granted.cpus)
    if granted.gpus == 0 or not torch.cuda.is_available():
        return torch.device("cpu")
    if granted.gpus < 1:
        torch.cuda.set_per_process_memory_fraction(granted.gpus)  # Ray's fractions do not isolate memory
    return torch.device("cuda")


class _Evaluations:
    """The final evaluations of ended trials, as Ray tasks beside the trials."""

    def __init__(self, driver: SearchDriver, data: Any, granted: Granted) -> None:
        self._driver, self._data, self._granted = driver, data, granted
        self._waiting: dict[Any, int] = {}
        self.errors: dict[int, str] = {}

    def start(self, number: int) -> None:
        """Starts the evaluation of a trial that has best weights and no evaluation yet."""
        folder = self._driver.folder.trial(number)
        if (folder / EVALUATION).exists():
            self._driver.situation.evaluated += 1
        elif (folder / BEST).exists():
            task = _evaluate.options(num_cpus=self._granted.cpus, num_gpus=self._granted.gpus)
            self._waiting[task.remote(self._data, folder, self._granted)] = number
        self._collect(0)

    def _collect(self, timeout: float) -> None:
        done, _ = (
            ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=timeout)
            if self._waiting
            else ([], [])
        )
        for reference in done:
            number = self._waiting.pop(reference)
            try:
                ray.get(reference)
                self._driver.situation.evaluated += 1
            except ray.exceptions.RayError as error:
                self.errors[number] = str(error).strip().splitlines()[-1]

    def wait(self, stop: StopRequest) -> dict[int, str]:
        """Waits for all, or until a stop is requested; returns the errors."""
        while self._waiting and not stop.requested:
            self._collect(WAIT_SECONDS)
        return self.errors
