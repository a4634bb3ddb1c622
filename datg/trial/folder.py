"""Files of a trial's folder, and the validations among them: read by whoever looks at a search, without torch."""

import contextlib
import filecmp
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

CONFIG = "config.yaml"
NOW = "now.json"  # where a running trial is, told every few seconds; nothing depends on it
PROGRESS = "progress.jsonl"  # one validation a line
STOP = "stop"  # the trial is to save and end, because a user asked for it
LAST, BEST = "last.safetensors", "best.safetensors"  # where training stands; the weights that are evaluated
CLUSTERS = "clusters.json"
BEST_VALIDATION = "best_validation.parquet"  # accuracy of the best weights on every validation task
FRESH_VALIDATION = "fresh_validation.parquet"  # the same on validation tasks that influenced no choice
EVALUATION = "evaluation.parquet"  # accuracy of every test task
CURVE = "curve"  # the folder of weights of every validation, if they are kept, and what they reach on novel classes
NETWORK = "network"  # in a search or final training: the folder of a network that is trained before


def weights_at(folder: Path, iteration: int) -> Path:
    """Return where a trial keeps its weights at ``iteration``, if it keeps those of every validation."""
    return folder / CURVE / f"{iteration}.safetensors"


def scores_of(weights: Path) -> Path:
    """Return where the accuracies of such weights on novel classes lie."""
    return weights.with_suffix(".parquet")


def is_own_network(checkpoint: object) -> TypeGuard[str]:
    """Return whether a checkpoint is the one that a search or final training has trained in its own folder."""
    return isinstance(checkpoint, str) and Path(checkpoint).parts[-2:] == (NETWORK, BEST)


def same_network(one: object, other: object) -> bool:
    """Return whether two checkpoints are those of one search, whose folder was moved or copied meanwhile."""
    if not (is_own_network(one) and is_own_network(other)):
        return False
    first, second = Path(one), Path(other)
    return not (first.exists() and second.exists()) or filecmp.cmp(first, second, shallow=False)


@dataclass(frozen=True)
class ValidationReport:
    """Hold one validation.

    Attributes:
        iteration: updates done.
        time: when, in seconds since 1970.
        seconds: spent in this trial so far, over all its runs.
        losses: mean of each part since the last validation.
        ci95: half-width of its 95 % interval over tasks.
        objective: the validation accuracy of the weights that are kept: the best so far, or the last.
        objective_ci95: its half-width.
        best_iteration: when that was.
        remark: what was out of the ordinary on the way to it.
    """

    iteration: int
    time: float
    seconds: float
    losses: dict[str, float]
    accuracy: float
    ci95: float
    objective: float
    objective_ci95: float
    best_iteration: int
    remark: str = ""


@dataclass(frozen=True)
class Now:
    """Say where a running trial is.

    Attributes:
        iteration: updates done.
        validated: tasks done of the validation that is under way; 0 while it trains.
    """

    iteration: int
    validated: int = 0


def tell_now(folder: Path, now: Now) -> None:
    """Write where a trial is; a disk that does not take it is passed over."""
    with contextlib.suppress(OSError):
        (folder / NOW).write_text(json.dumps(asdict(now)), encoding="utf-8")


def read_now(folder: Path) -> Now | None:
    """Return where a running trial is, as far as it has told."""
    try:
        return Now(**json.loads((folder / NOW).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def report_lines(history: list[dict[str, Any]]) -> str:
    """Return validations as the lines of their file."""
    return "".join(json.dumps(entry) + "\n" for entry in history)


def await_report(folder: Path, iteration: int, seconds: float) -> None:
    """Wait until a network file system shows the validation at ``iteration`` that another machine wrote, at most so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        history = read_reports(folder)
        if history and history[-1].iteration >= iteration:
            return
        time.sleep(0.2)


def read_reports(folder: Path, *, after: int = 0) -> list[ValidationReport]:
    """Read the validations of a trial without the first ``after``; of a damaged file, those before the damage."""
    entries = []
    try:
        for line in (folder / PROGRESS).read_bytes().splitlines()[after:]:
            entries.append(ValidationReport(**json.loads(line)))
    except (FileNotFoundError, ValueError, TypeError):
        pass
    return entries
