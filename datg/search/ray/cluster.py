"""Ray: runs what the driver asks for, on one machine or a cluster. Its own state is disposable.

Ray Tune schedules trials; a small Searcher and a small TrialScheduler pass everything to the
:class:`~datg.search.study.driver.SearchDriver`. When a trial ends, pruned ones included, a separate task evaluates its best
weights on novel classes. The data set reaches each node once, through the object store.
"""

import contextlib
import logging
import os
import socket
import tempfile
from pathlib import Path

import joblib
import ray
import torch

from datg.errors import ConfigError
from datg.runtime.allocator import ENVIRONMENT
from datg.runtime.signals import without_garbage_collection
from datg.search.ray.private_parts import keeping_signal_handlers, without_api_server
from datg.search.ray.resources import Allocation, Resources, allocate
from datg.search.ray.worker import describe_error

CONNECT_SECONDS = 5.0


def start_ray(resources: Resources) -> Allocation:
    """Connect to Ray or start it here, and check that a trial fits on some node.

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
        allocate([{"CPU": float(usable_cpus()), "GPU": float(torch.cuda.device_count())}], resources)
    else:
        _check_reachable(resources.address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # its failures are ours to tell, in a sentence
    try:
        with without_api_server() if resources.address is None else contextlib.nullcontext(), keeping_signal_handlers():
            ray.init(
                # Ray's default would join whatever cluster RAY_ADDRESS or a file of an earlier one names.
                address=resources.address or "local",
                num_cpus=usable_cpus() if resources.address is None else None,
                include_dashboard=False if resources.address is None else None,
                configure_logging=True,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": ENVIRONMENT},
            )
    except ConfigError:
        raise
    except (ConnectionError, ValueError, RuntimeError) as error:
        if resources.address is None:
            logs = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "session_latest" / "logs"
            raise ConfigError(
                f"Ray could not be started here ({describe_error(error)}); why is not known, its logs may tell: {logs}."
            ) from error
        raise ConfigError(
            f"`--address` {resources.address}: {str(error).splitlines()[0]}; if the cluster uses token authentication, set "
            "RAY_AUTH_MODE=token here, too."
        ) from error
    try:
        return allocate(nodes(), resources)
    except ConfigError:
        shut_down()
        raise


def usable_cpus() -> int:
    """Return how many processors this process may use: by its affinity and its cgroup's quota."""
    return int(joblib.cpu_count())


def _check_reachable(address: str) -> None:
    """Refuse an address that does not answer: Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return  # auto, or a name that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"`--address` {address} does not answer ({error.strerror or error}); start Ray there first."
        ) from None


def nodes() -> list[dict[str, float]]:
    """Return the resources of each node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def shut_down() -> None:
    """Leave the cluster, or end the one that was started here."""
    with without_garbage_collection():
        ray.shutdown()
