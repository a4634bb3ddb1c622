"""Ray: runs what the driver asks for, on one machine or a cluster. Its own state is disposable.

Ray Tune schedules trials; a small Searcher and a small TrialScheduler pass everything to the
:class:`~datg.search.driver.SearchDriver`. When a trial ends, pruned ones included, a separate task evaluates its best
weights on novel classes. The data set reaches each node once, through the object store.
"""

import contextlib
import json
import logging
import os
import shutil
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from datg.claim import CLAIM, EVALUATOR
from datg.data.catalog import Dataset
from datg.errors import ConfigError, without_password
from datg.memory import ENVIRONMENT
from datg.search.disk import DiskWatch
from datg.search.driver import IN_A_ROW, SearchDriver
from datg.search.evaluations import Evaluations
from datg.search.gpu_share import fraction, trials_at_once
from datg.search.grant import Granted, grant
from datg.search.hangs import Watchdog
from datg.search.local_ray import keeping_signal_handlers, without_api_server, without_garbage
from datg.search.request import AUTO, Resources
from datg.search.study import is_storage_failure
from datg.search.worker import CAUSE, lacks_room, measure_need, one_line, reason_of, train, train_apart
from datg.stop import HOPELESS, StopRequest
from datg.trial import Progress

WAIT_SECONDS = 0.5
CONNECT_SECONDS = 5.0
SAVE_SECONDS = 12.0  # that running trials get to save and end, when a search is stopped
SIGN_SECONDS = 2.0
EMBEDDING = "training the network that classes are clustered by"


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
        grant([{"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}], resources)
    else:
        _check_reachable(resources.address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # its failures are ours to tell, in a sentence
    try:
        with without_api_server() if resources.address is None else contextlib.nullcontext(), keeping_signal_handlers():
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
    try:
        return grant(_nodes(), resources)
    except ConfigError:
        shut_down()
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


def _nodes() -> list[dict[str, float]]:
    """The resources of each node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def shut_down() -> None:
    """Leaves the cluster, or ends the one that was started here."""
    with without_garbage():
        ray.shutdown()


def run_search(
    driver: SearchDriver,
    dataset: Dataset,
    granted: Granted,
    stop: StopRequest,
    disk: DiskWatch,
    say: Callable[[str], None],
) -> Evaluations:
    """Runs trials and final evaluations until none is missing or a stop is requested; Ray must have been started.

    Args:
        driver: decides.
        dataset: put into the object store once.
        granted: what :func:`start_ray` returned.
        stop: asked all the time.
        disk: looks at the room that is left.
        say: told what the user should know.

    Returns:
        The final evaluations; those that failed for good have an error.
    """
    stop.install()
    driver.folder.stop.unlink(missing_ok=True)
    shutil.rmtree(driver.folder.tune, ignore_errors=True)
    data = ray.put(dataset)

    def watched() -> list[Path]:
        with keeper.guard():
            evaluations.advance(0)
        found = [driver.folder.trial(number) / CLAIM for number in driver.situation.running]
        found += [driver.folder.trial(number) / EVALUATOR for number in evaluations.running]
        return found + ([driver.folder.embedding / CLAIM] if driver.situation.preparing == EMBEDDING else [])

    keeper = _Keeper(driver, stop, Watchdog(granted.asked.trial_timeout, watched), disk)
    evaluations = Evaluations(driver, data, granted, stop)
    try:
        if _train_embedding(driver, data, granted, keeper):
            if granted.asked.gpus_per_trial == AUTO and granted.share.gpus > 0:
                evaluations.granted = granted = _share_gpus(driver, data, granted, keeper, say)
            for number in driver.ended:
                evaluations.add(number)
            _tune(driver, data, granted, keeper, evaluations)
            while evaluations.unfinished and not keeper.ends():
                evaluations.advance(WAIT_SECONDS)
    finally:
        driver.folder.stop.unlink(missing_ok=True)
    return evaluations


def _tune(driver: SearchDriver, data: Any, granted: Granted, keeper: "_Keeper", evaluations: "Evaluations") -> None:
    """All trials."""
    placement = tune.PlacementGroupFactory([{"CPU": granted.share.cpus, "GPU": granted.share.gpus}])
    trainable = tune.with_resources(tune.with_parameters(train, data=data, share=granted.share), placement)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_StudySearcher(driver, keeper, evaluations.add),
            scheduler=_StudyScheduler(driver, keeper),
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
            failure_config=tune.FailureConfig(max_failures=granted.asked.max_failures),
            stop=keeper,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Tune warns of its own deprecations
        try:
            tuner.fit()
        except Exception as error:  # Tune's own files
            if not lacks_room(error):
                raise
            keeper.stop.ask(f"{driver.folder.tune} cannot be written ({reason_of(error)})")


class _Unsaved:
    """Tune pickles what it is given into its folder; nothing of ours, and no password, goes there."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Keeper(_Unsaved, tune.Stopper):
    """Looks after a search: asked in every turn of Tune's loop, in the main thread, whether to end."""

    def __init__(self, driver: SearchDriver, stop: StopRequest, watchdog: Watchdog, disk: DiskWatch) -> None:
        self.stop = stop
        self._driver, self._watchdog, self._disk = driver, watchdog, disk
        self._signed = 0.0
        self._patience: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether to end now; once a stop is requested, running trials get a while to save."""
        self.stop.install()  # Tune has put its own handler for SIGUSR1
        return self.ends() and (not self._driver.situation.running or time.monotonic() > (self._patience or 0.0))

    def ends(self) -> bool:
        """Whether a stop has been requested; the first time, running trials are told."""
        self._sign()
        self._watchdog.look()
        with self.guard():
            self._disk.look(self._driver, self.stop)
        if self._driver.hopeless:
            self.stop.ask(f"the last {IN_A_ROW} trials failed", HOPELESS)
        if self.stop.requested and self._patience is None:
            self._patience = time.monotonic() + SAVE_SECONDS
            with contextlib.suppress(OSError):  # a full disk: trials then end without saving
                self._driver.folder.stop.touch()
        return self.stop.requested

    def _sign(self) -> None:
        """Tells, by the time of a file, that the driver is alive."""
        if time.monotonic() - self._signed >= SIGN_SECONDS:
            self._signed = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._driver.folder.driver)

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Around every call to the driver: a study that cannot be written ends the search in order, to be resumed."""
        try:
            yield
        except Exception as error:
            if not is_storage_failure(error):
                raise
            cause = error.__cause__ or error
            self._driver.out_of_reach = True
            self.stop.ask(
                f"the study cannot be written ({without_password(one_line(getattr(cause, 'orig', None) or cause))})"
            )


class _StudySearcher(_Unsaved, Searcher):
    """Hands out the driver's trials."""

    def __init__(self, driver: SearchDriver, keeper: _Keeper, on_end: Callable[[int], None]) -> None:
        super().__init__(metric="objective", mode="max")
        self._driver, self._keeper, self._on_end = driver, keeper, on_end
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if self._keeper.stop.requested:
            return None
        number = None
        with self._keeper.guard():
            number = self._driver.next_trial()
        if self._keeper.stop.requested and number is None:
            return None
        if number is None:
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = number
        folder = self._driver.folder
        return {"number": number, "folder": str(folder.trial(number)), "stop": str(folder.stop)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number, result = self._numbers[trial_id], result or {}
        outcome, cause = result.get("outcome", ""), result.get("error", "")
        if error or not outcome:
            outcome, cause = _broken(self._driver.folder.trial(number))
        if outcome == "blocked":
            self._keeper.stop.ask(cause)
        with self._keeper.guard():
            if outcome in ("blocked", "interrupted"):
                self._driver.release(number, again=not self._keeper.stop.requested)
            else:
                self._driver.finish(number, outcome, cause)
                self._on_end(number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Never used: a resumed search is a new Tune run."""


def _broken(folder: Path) -> tuple[str, str]:
    """Outcome and cause of a trial that was tried as often as is allowed, or that Tune stopped."""
    path = folder / CAUSE
    if path.exists():
        return "error", path.read_text(encoding="utf-8")
    return "failed", "its process died (killed, out of memory, or its machine was lost)"


class _StudyScheduler(_Unsaved, FIFOScheduler):
    """Passes reports to the driver and stops what it prunes."""

    def __init__(self, driver: SearchDriver, keeper: _Keeper) -> None:
        super().__init__()
        self._driver, self._keeper = driver, keeper

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        prune = False
        if "progress" in result:
            with self._keeper.guard():
                prune = self._driver.report(trial.config["number"], Progress(**json.loads(result["progress"])))
        return str(TrialScheduler.STOP if prune else TrialScheduler.CONTINUE)


def _share_gpus(
    driver: SearchDriver, data: Any, granted: Granted, keeper: _Keeper, say: Callable[[str], None]
) -> Granted:
    """Measures how many trials share a GPU and grants anew; the same grant where a stop came first."""
    driver.situation.preparing = "measuring how many trials share a GPU"
    task = measure_need.options(num_cpus=granted.share.cpus, num_gpus=1)
    waiting = [task.remote(data, config, granted.share) for config in driver.kinds_of_trials()]
    needs = []
    while waiting and not keeper.ends():
        done, waiting = ray.wait(waiting, timeout=WAIT_SECONDS)
        try:
            needs += ray.get(done)
        except ray.exceptions.RayError as error:
            cause = one_line(getattr(error, "cause", None) or error)
            raise ConfigError(
                f"`--gpus-per-trial` auto: the trial that was to be measured failed ({cause}); say how much of a GPU a trial "
                "gets, for instance --gpus-per-trial 0.5."
            ) from error
    driver.situation.preparing = ""
    if waiting:
        for reference in waiting:
            ray.cancel(reference, force=True)
        return granted
    number, sentence = trials_at_once(needs)
    say(sentence)
    return grant(_nodes(), replace(granted.asked, gpus_per_trial=fraction(number)))


def _train_embedding(driver: SearchDriver, data: Any, granted: Granted, keeper: _Keeper) -> bool:
    """Trains the network that base classes are clustered by, if there is to be one; whether the search can go on."""
    config = driver.embedding_config()
    if config is None:
        return True
    driver.situation.preparing = EMBEDDING
    task = train_apart.options(
        num_cpus=granted.share.cpus, num_gpus=granted.share.gpus, max_retries=granted.asked.max_failures
    )
    waiting = [task.remote(data, config, driver.folder.embedding, driver.folder.stop, granted.share)]
    outcome, deadline = "interrupted", None
    while waiting and (deadline is None or time.monotonic() < deadline):
        if keeper.ends() and deadline is None:
            deadline = time.monotonic() + SAVE_SECONDS
        done, waiting = ray.wait(waiting, timeout=WAIT_SECONDS)
        try:
            outcome = (ray.get(done) or [outcome])[0]
        except ray.exceptions.RayError as error:
            if lacks_room(getattr(error, "cause", None) or error):
                keeper.stop.ask(f"{driver.folder.embedding} cannot be written (no room)")
                return False
            raise ConfigError(
                f"the network that classes are to be clustered by could not be trained ({str(error).strip().splitlines()[-1]}); "
                "choose other `strategy.cluster_features`, or give a `strategy.cluster_checkpoint`."
            ) from error
    driver.situation.preparing = ""
    return outcome != "interrupted"
