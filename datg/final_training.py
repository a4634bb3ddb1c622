"""Final training: one configuration, several training seeds, the same validation and test tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datg.data.catalog import Dataset
from datg.errors import TrialDiverged
from datg.evaluation import NORMAL_95
from datg.files import write_text
from datg.final_evaluation import EVALUATION, evaluate_best
from datg.partition import lacks_embedding, vanilla_of, with_embedding
from datg.records import DONE, FAILED, RUNNING, TrialRecord, read_record
from datg.trial import BEST, Progress, TrialData, run_trial
from datg.trial_config import TrialConfig

EMBEDDING = "embedding"  # the folder of the network that base classes are clustered by, if the strategy wants one
OUTCOME = "outcome"  # of a seed that has ended, in a file of that name
Show = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Summary:
    """Several seeds together.

    Attributes:
        mean: test accuracy, mean over seeds.
        ci95: half-width of the 95 % interval over tasks, of the seeds' mean accuracy on each task.
        spread: standard deviation over seeds (ddof 1); None for one seed.
        seeds: how many were evaluated.
    """

    mean: float
    ci95: float
    spread: float | None
    seeds: int


def seed_folder(folder: Path, seed: int) -> Path:
    """Where the training with ``seed`` lies."""
    return folder / f"seed-{seed}"


def train_seeds(
    config: TrialConfig, dataset: Dataset, folder: Path, *, seeds: list[int], device: torch.device | str, show: Show
) -> None:
    """Trains and evaluates one configuration with each of ``seeds``; what is done already is not done again.

    Args:
        config: its own seed is replaced.
        dataset: base, validation and novel classes.
        folder: one folder a seed is made in it.
        seeds: training seeds.
        device: where.
        show: called as ``show(what, done, total)``.
    """
    data = TrialData.of(dataset)
    if lacks_embedding(config):
        config = _with_trained_embedding(config, data, folder / EMBEDDING, device=device, show=show)
    for seed in seeds:
        place = seed_folder(folder, seed)
        if (place / OUTCOME).exists():
            continue
        seeded = config.model_copy(update={"seed": seed})
        total = config.training.iterations
        show(f"seed {seed}", 0, total)

        def report(progress: Progress, what: str = f"seed {seed}", total: int = total) -> None:
            show(what, progress.iteration, total)

        try:
            outcome = run_trial(seeded, data, report=report, folder=place, device=device).outcome
        except TrialDiverged as error:
            outcome = f"diverged: {error}"
        tests = config.evaluation.test_tasks

        def evaluated(done: int, what: str = f"seed {seed}, novel classes", total: int = tests) -> None:
            show(what, done, total)

        if (place / BEST).exists():
            novel = dataset.part("novel")
            evaluate_best(place / BEST, novel, device=str(device), progress=evaluated, save_to=place / EVALUATION)
        write_text(place / OUTCOME, outcome)


def _with_trained_embedding(
    config: TrialConfig, data: TrialData, folder: Path, *, device: torch.device | str, show: Show
) -> TrialConfig:
    """Trains the network that base classes are clustered by, or goes on with it, and names it in the configuration."""

    def report(progress: Progress) -> None:
        show("network for clustering", progress.iteration, config.training.iterations)

    run_trial(vanilla_of(config), data, report=report, folder=folder, device=device)
    return with_embedding(config, folder / BEST)


def read_seeds(folder: Path, seeds: list[int], tags: dict[str, str]) -> list[TrialRecord]:
    """Records of the seeds begun so far."""
    records = []
    for seed in seeds:
        place = seed_folder(folder, seed)
        if not place.exists():
            continue
        ended = place / OUTCOME
        text = ended.read_text() if ended.exists() else ""
        outcome, _, error = text.partition(": ")
        state = RUNNING if not outcome else FAILED if outcome == "diverged" else DONE
        record = read_record(
            seed,
            state,
            outcome,
            place,
            searched={"seed": seed},
            tags={**tags, "seed": str(seed), "trial": str(seed)},
            error=error,
            ended=ended.stat().st_mtime if outcome else None,
        )
        records.append(record)
    return records


def summarise(accuracies: list[np.ndarray]) -> Summary:
    """Mean, interval over tasks and spread over seeds of `(tasks,)` accuracies on the same tasks, one array a seed."""
    by_seed = np.stack(accuracies).astype(np.float64)
    by_task = by_seed.mean(0)
    means = by_seed.mean(1)
    return Summary(
        mean=float(by_task.mean()),
        ci95=NORMAL_95 * float(by_task.std(ddof=1)) / len(by_task) ** 0.5,
        spread=float(means.std(ddof=1)) if len(means) > 1 else None,
        seeds=len(means),
    )
