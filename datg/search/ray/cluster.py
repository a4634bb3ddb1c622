"""Ray: runs what the driver asks for, on one machine or a cluster. Its own state is disposable.

Ray Tune schedules trials; a small Searcher and a small TrialScheduler pass everything to the
:class:`~datg.search.study.driver.SearchDriver`. When a trial ends, pruned ones included, a separate task evaluates its best
weights on novel classes. The data set reaches each node once, through the object store.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import ray
import torch

from datg.errors import ConfigError
from datg.runtime.allocator import ENVIRONMENT
from datg.runtime.signals import without_garbage_collection
from datg.search.environment import remove_tunes_own
from datg.search.ray.address import check_address, explain_connection, explain_start
from datg.search.ray.capacity import wait_for_nodes
from datg.search.ray.nodes import ClusterNodes, NodeReport, refuse_bad_nodes
from datg.search.ray.private_parts import keeping_signal_handlers, without_api_server
from datg.search.ray.resources import Allocation, Resources, allocate, allocate_here, usable_cpus


def start_ray(resources: Resources, output: Path, notify: Callable[[str], None] = lambda text: None) -> Allocation:
    """Connect to Ray or start it here, look at each node of a cluster, and check that a trial fits on some node.

    Args:
        resources: what is asked for.
        output: the folder that all nodes of a cluster must share.
        notify: told what is waited for.

    Raises:
        ConfigError: no node can ever run a trial, some node cannot although it should, or the cluster cannot be reached.
    """
    connect(resources)
    nodes = ClusterNodes(None if resources.address is None else output)
    try:
        if resources.address is not None:
            nodes.examine()
            if not resources.skip_bad_nodes:
                refuse_bad_nodes(nodes)
            wait_for_nodes(nodes, resources, notify)
        return allocate(nodes.usable, resources, nodes)
    except BaseException:
        shut_down()
        raise


def examine_cluster(address: str, output: Path) -> list[NodeReport]:
    """Look at each node of a cluster, whose trials would write to ``output``, and leave it again.

    Raises:
        ConfigError: it cannot be reached.
    """
    connect(Resources(address=address))
    try:
        nodes = ClusterNodes(output)
        nodes.examine()
        return nodes.reports
    finally:
        shut_down()


def connect(resources: Resources) -> None:
    """Connect to Ray, or start it here.

    Raises:
        ConfigError: the cluster cannot be reached, or no trial fits here.
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
                num_gpus=torch.cuda.device_count() if resources.address is None else None,
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


def shut_down() -> None:
    """Leave the cluster, or end the one that was started here."""
    with without_garbage_collection():
        ray.shutdown()
