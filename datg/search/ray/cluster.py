"""Ray: runs what the driver asks for, on one machine or a cluster. Its own state is disposable.

Ray Tune schedules trials; a small Searcher and a small TrialScheduler pass everything to the
:class:`~datg.search.study.driver.SearchDriver`. When a trial ends, pruned ones included, a separate task evaluates its best
weights on novel classes. The data set reaches each node once, through the object store.
"""

import contextlib
import logging
import os

import ray

from datg.errors import ConfigError
from datg.runtime.allocator import ENVIRONMENT
from datg.runtime.signals import without_garbage_collection
from datg.search.environment import remove_tunes_own
from datg.search.ray.address import check_address, explain_connection, explain_start
from datg.search.ray.private_parts import keeping_signal_handlers, without_api_server
from datg.search.ray.resources import Allocation, Resources, allocate, allocate_here, usable_cpus


def start_ray(resources: Resources) -> Allocation:
    """Connect to Ray or start it here, and check that a trial fits on some node.

    Raises:
        ConfigError: no node can ever run a trial, or the cluster cannot be reached.
    """
    remove_tunes_own()
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_AIR_NEW_OUTPUT="0",  # the new output engine ignores verbose=0
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    )
    if resources.address is None:
        allocate_here(resources)
    else:
        check_address(resources.address)
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
    except (OSError, ValueError, RuntimeError) as error:  # a ConnectionError is an OSError
        address = resources.address
        raise ConfigError(explain_start(error) if address is None else explain_connection(error, address)) from error
    try:
        return allocate(nodes(), resources)
    except ConfigError:
        shut_down()
        raise


def nodes() -> list[dict[str, float]]:
    """Return the resources of each node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def shut_down() -> None:
    """Leave the cluster, or end the one that was started here."""
    with without_garbage_collection():
        ray.shutdown()
