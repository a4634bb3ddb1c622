"""What runs in Ray's worker processes: trials, the network that classes are clustered by, final evaluations."""

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from safetensors import SafetensorError

from datg.claim import EVALUATOR, Claim
from datg.data.catalog import Dataset
from datg.errors import DatgError, StateError, TrialDiverged, TrialTaken
from datg.files import read_yaml, write_text
from datg.final_evaluation import EVALUATION, evaluate_best
from datg.search.gpu_share import Need, measure
from datg.search.grant import Share
from datg.trial import BEST, CONFIG, LAST, Progress, TrialData, run_trial
from datg.trial_config import TrialConfig

CAUSE, REFUSED = "error.txt", "refused.safetensors"
SECONDS_BETWEEN_LOOKS = 1.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def train(tune_config: dict[str, Any], data: Any, share: Share) -> None:
    """A trial, as Tune runs it; reports each validation and at last an ``outcome``."""
    device = set_up(share)
    folder = Path(tune_config["folder"])
    (folder / CAUSE).unlink(missing_ok=True)
    last = {"objective": 0.0}
    stopped = False

    def send(**values: str) -> None:
        nonlocal stopped
        try:
            tune.report({**last, **values})
        except SystemExit:  # Tune has stopped this trial
            stopped = True
            raise

    def report(progress: Progress) -> None:
        last.update(objective=progress.objective)
        send(progress=json.dumps(vars(progress)))  # Tune would flatten a mapping

    def end(outcome: str, error: str = "") -> None:
        send(outcome=outcome, error=error)

    try:
        dataset: Dataset = ray.get(data) if isinstance(data, ray.ObjectRef) else data
        config = TrialConfig.of(read_yaml(folder / CONFIG))
        stop = asked_by(Path(tune_config["stop"]))
        result = run_trial(config, TrialData.of(dataset), report=report, folder=folder, device=device, stop=stop)
    except TrialDiverged as error:
        end("diverged", str(error))
    except TrialTaken as error:
        end("interrupted", str(error))
    except StateError as error:  # a checkpoint that cannot be read: put aside, the next try begins anew
        if (folder / LAST).exists():
            (folder / LAST).replace(folder / REFUSED)
        write_text(folder / CAUSE, one_line(error))
        raise
    except DatgError as error:  # would be the same on the next try
        end("error", str(error))
    except Exception as error:
        if lacks_room(error):
            end("blocked", f"{folder} cannot be written ({reason_of(error)})")
            return
        write_text(
            folder / CAUSE, one_line(error)
        )  # a bug or the machine: tried again, and if it stays, the cause is told
        raise
    except SystemExit as error:
        if stopped:
            raise
        write_text(folder / CAUSE, one_line(error))
        raise RuntimeError(one_line(error)) from error
    else:
        end(result.outcome)


@ray.remote
def train_apart(dataset: Dataset, config: TrialConfig, folder: Path, stop: Path, share: Share) -> str:
    """A training that is no trial; one that has ended already ends at once. Returns its outcome."""
    device = set_up(share)
    data = TrialData.of(dataset)
    return run_trial(
        config, data, report=lambda progress: None, folder=folder, device=device, stop=asked_by(stop)
    ).outcome


@ray.remote
def evaluate(dataset: Dataset, folder: Path, share: Share) -> None:
    """The final evaluation of a trial."""
    device = set_up(share)
    claim = Claim(folder / EVALUATOR, device)

    def progress(done: int) -> None:
        claim.sign()
        claim.check()

    novel = dataset.part("novel")
    evaluate_best(folder / BEST, novel, device=str(device), progress=progress, save_to=folder / EVALUATION)


@ray.remote(max_retries=0, max_calls=1)  # the next one must not find memory that this process keeps
def measure_need(dataset: Dataset, config: TrialConfig, share: Share) -> Need:
    """What a trial needs of a GPU that it has to itself."""
    return measure(config, TrialData.of(dataset), set_up(share))


def set_up(share: Share) -> torch.device:
    """Keeps this process to its share; returns its device."""
    torch.set_num_threads(share.cpus)
    if share.gpus == 0 or not torch.cuda.is_available():
        return torch.device("cpu")
    if share.gpus < 1:
        torch.cuda.set_per_process_memory_fraction(share.gpus)  # Ray's fractions do not isolate memory
    return torch.device("cuda")


def asked_by(path: Path) -> Callable[[], bool]:
    """Whether the file ``path`` is there; looks about once a second however often it is called."""
    looked, found = 0.0, False

    def stop() -> bool:
        nonlocal looked, found
        if time.monotonic() - looked >= SECONDS_BETWEEN_LOOKS:
            looked, found = time.monotonic(), path.exists()
        return found

    return stop


def lacks_room(error: BaseException) -> bool:
    """Whether ``error`` says that a disk is full or has become read-only."""
    if isinstance(error, SafetensorError):  # tells of the system's error in words alone
        return any(f"os error {number})" in str(error).lower() for number in NO_ROOM)
    return isinstance(error, OSError) and error.errno in NO_ROOM


def reason_of(error: BaseException) -> str:
    """The system's own words."""
    return getattr(error, "strerror", None) or str(error)


def one_line(error: BaseException) -> str:
    """Type and message."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
