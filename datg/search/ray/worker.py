"""What runs in Ray's worker processes: trials, the network that classes are clustered by, final evaluations."""

import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from datg.data.catalog import Dataset
from datg.errors import DatgError, StateError, TrialDiverged, TrialTaken
from datg.search.ray.gpu_sharing import Need, measure
from datg.search.ray.resources import Allocation, TrialResources
from datg.search.ray.stop_notice import heard_at
from datg.storage.files import is_disk_full, read_yaml, write_text
from datg.storage.lease import EVALUATION_LEASE, Lease
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.final_evaluation import ON_NOVEL, EvaluationKind, evaluate_best
from datg.trial.folder import BEST, CONFIG, LAST, STOP, ValidationReport
from datg.trial.novel_curve import evaluate_curve
from datg.trial.run import run_trial

CAUSE, REFUSED_CHECKPOINT = "error.txt", "refused.safetensors"
NODE = "node.txt"  # in a trial's folder: the id of the node that tried it last


def train(tune_config: dict[str, Any], data: Any) -> None:
    """Run a trial, as a function that Tune calls.

    A validation stands in the trial's folder; Tune is told of its iteration, and at last of the trial's ``outcome``.
    """
    folder = Path(tune_config["folder"])
    write_text(folder / NODE, ray.get_runtime_context().get_node_id())
    resources = TrialResources(**tune_config["resources"])
    device = set_up(resources)
    stopped, iteration = False, 0

    def send(message: dict[str, Any]) -> None:
        nonlocal stopped
        try:
            tune.report(message)
        except SystemExit:  # Tune has stopped this trial
            stopped = True
            raise

    def report(progress: ValidationReport) -> None:
        nonlocal iteration
        iteration = progress.iteration
        send({"iteration": iteration})

    def end(outcome: str, error: str = "") -> None:
        send({"iteration": iteration, "outcome": outcome, "error": error})

    try:
        dataset: Dataset = ray.get(data) if isinstance(data, ray.ObjectRef) else data
        config = TrialConfig.from_dict(read_yaml(folder / CONFIG))
        stop = heard_at(tune_config["stop"], folder / STOP)
        result = run_trial(
            config,
            TrialData.from_dataset(dataset),
            report=report,
            folder=folder,
            device=device,
            stop=stop,
            heartbeat=resources.heartbeat,
        )
    except TrialDiverged as error:
        end("diverged", str(error))
    except TrialTaken as error:
        end("interrupted", str(error))
    except StateError as error:  # a checkpoint that cannot be read: put aside, the next try begins anew
        if (folder / LAST).exists():
            (folder / LAST).replace(folder / REFUSED_CHECKPOINT)
        write_text(folder / CAUSE, describe_error(error))
        raise
    except DatgError as error:  # would be the same on the next try
        end("error", str(error))
    except Exception as error:
        if is_disk_full(error):
            end("blocked", f"{folder} cannot be written ({system_message(error)})")
            return
        write_text(
            folder / CAUSE, describe_error(error)
        )  # a bug or the machine: tried again, and if it stays, the cause is told
        raise
    except SystemExit as error:
        if stopped:
            raise
        write_text(folder / CAUSE, describe_error(error))
        raise RuntimeError(describe_error(error)) from error
    else:
        end(result.outcome)


def train_apart(dataset: Dataset, config: TrialConfig, folder: Path, stop: str, resources: TrialResources) -> str:
    """Run a training that is no trial, and return its outcome; one that has ended already ends at once."""
    device = set_up(resources)
    data = TrialData.from_dataset(dataset)
    try:
        return run_trial(
            config,
            data,
            report=lambda progress: None,
            folder=folder,
            device=device,
            stop=heard_at(stop),
            heartbeat=resources.heartbeat,
        ).outcome
    except StateError:  # a checkpoint that cannot be read, or is of another configuration: the next try begins anew
        if (folder / LAST).exists():
            (folder / LAST).replace(folder / REFUSED_CHECKPOINT)
        raise


def evaluate(dataset: Dataset, folder: Path, resources: TrialResources, kind: EvaluationKind) -> None:
    """Evaluate the best weights of an ended trial."""
    device = set_up(resources)
    lease = Lease(folder / EVALUATION_LEASE, device, heartbeat=resources.heartbeat)

    def progress(done: int) -> None:
        lease.heartbeat()
        lease.check()

    if kind == ON_NOVEL:
        evaluate_curve(folder, dataset.part(kind.part), device=str(device), progress=progress)
    evaluate_best(
        folder / BEST,
        dataset.part(kind.part),
        device=str(device),
        purpose=kind.purpose,
        progress=progress,
        save_to=folder / kind.file,
    )


def measure_need(dataset: Dataset, config: TrialConfig, resources: TrialResources) -> Need:
    """Return what a trial needs of a GPU that it has to itself."""
    return measure(config, TrialData.from_dataset(dataset), set_up(resources))


def on_share(function: Callable[..., Any], allocation: Allocation) -> Any:
    """Return a task with the resources of a trial, on a node that may run trials; Ray's own retries would follow at once."""
    share, labels = allocation.per_trial, {} if allocation.nodes is None else allocation.nodes.avoiding()
    selected = {"label_selector": labels} if labels else {}
    task = _task(function, ends_its_process=share.gpus > 0)
    return task.options(num_cpus=share.cpus, num_gpus=share.gpus, **selected)


@cache
def _task(function: Callable[..., Any], *, ends_its_process: bool) -> Any:
    """Return a Ray task; one on a GPU ends its process, whose idle context would keep memory of it."""
    return ray.remote(max_retries=0, max_calls=int(ends_its_process))(function)


def set_up(resources: TrialResources) -> torch.device:
    """Keep this process to its resources; return its device.

    Raises:
        RuntimeError: Ray gives it a GPU that torch does not see; that is the node's fault, and the CPU is no answer to it.
    """
    torch.set_num_threads(resources.cpus)
    if resources.gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"Ray gives a GPU on {socket.gethostname()}, where torch {torch.__version__} sees none: install a torch with CUDA "
            "there, or start Ray there with --num-gpus 0"
        )
    if resources.gpus < 1:
        torch.cuda.set_per_process_memory_fraction(resources.gpus)  # Ray's fractions do not isolate memory
    return torch.device("cuda")


def system_message(error: BaseException) -> str:
    """Return the system's own words."""
    return getattr(error, "strerror", None) or str(error)


def describe_error(error: BaseException) -> str:
    """Return type and message."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
