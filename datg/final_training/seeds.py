"""Final training: one configuration, several training seeds, the same validation and test tasks."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from datg.data.catalog import Dataset
from datg.errors import TrialDiverged
from datg.runtime.progress import ProgressCallback
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.final_evaluation import evaluate_best
from datg.trial.folder import BEST, EVALUATION, NETWORK, Now, ValidationReport
from datg.trial.novel_curve import evaluate_curve
from datg.trial.preparation import network_to_train, with_network
from datg.trial.records import TrialOutcome, TrialRecord, read_outcome, read_record, state_of, write_outcome
from datg.trial.run import run_trial


def seed_folder(folder: Path, seed: int) -> Path:
    """Return where the training with ``seed`` lies."""
    return folder / f"seed-{seed}"


def train_seeds(
    config: TrialConfig,
    dataset: Dataset,
    folder: Path,
    *,
    seeds: list[int],
    device: torch.device | str,
    show: ProgressCallback,
    say: Callable[[str], None],
) -> None:
    """Train and evaluate one configuration with each of ``seeds``; what is done already is not done again.

    Args:
        config: its own seed is replaced.
        dataset: base, validation and novel classes.
        folder: one folder a seed is made in it.
        seeds: training seeds.
        device: where.
        show: called as ``show(what, done, total)``.
        say: told of every validation.
    """
    data = TrialData.from_dataset(dataset)
    network = network_to_train(config)
    if network is not None:
        config = with_network(config, _train_network(network, data, folder / NETWORK, device=device, show=show))
    for seed in seeds:
        seed_dir = seed_folder(folder, seed)
        if read_outcome(seed_dir) is not None:
            continue
        seeded = config.model_copy(update={"seed": seed})
        total, validation_tasks = config.training.iterations, config.evaluation.validation_tasks
        show(f"seed {seed}", 0, total)

        def report(progress: ValidationReport, what: str = f"seed {seed}", total: int = total) -> None:
            say(
                f"{what}: iteration {progress.iteration} of {total}, validation {progress.accuracy:.4f} ± {progress.ci95:.4f}"
            )

        def tell(now: Now, what: str = f"seed {seed}", total: int = total, tasks: int = validation_tasks) -> None:
            show(what, now.iteration, total)
            if now.validated:
                show(f"{what}, validation tasks", now.validated, tasks)

        try:
            trained = run_trial(seeded, data, report=report, folder=seed_dir, device=device, tell=tell)
            outcome, cause = trained.outcome, ""
        except TrialDiverged as error:
            outcome, cause = "diverged", str(error)
        tests = config.evaluation.test_tasks

        def evaluated(done: int, what: str = f"seed {seed}, novel classes", total: int = tests) -> None:
            show(what, done, total)

        if (seed_dir / BEST).exists():
            novel = dataset.part("novel")
            evaluate_curve(seed_dir, novel, device=str(device))
            evaluate_best(seed_dir / BEST, novel, device=str(device), progress=evaluated, save_to=seed_dir / EVALUATION)
        write_outcome(seed_dir, TrialOutcome(outcome, cause, time.time()))


def _train_network(
    network: TrialConfig, data: TrialData, folder: Path, *, device: torch.device | str, show: ProgressCallback
) -> Path:
    """Train the network that the strategy needs, or go on with it; return its best weights."""

    def tell(now: Now) -> None:
        show("network that is trained first", now.iteration, network.training.iterations)

    run_trial(network, data, report=lambda progress: None, folder=folder, device=device, tell=tell)
    return folder / BEST


def read_seeds(folder: Path, seeds: list[int], tags: dict[str, str]) -> list[TrialRecord]:
    """Return records of the seeds begun so far."""
    records = []
    for seed in seeds:
        seed_dir = seed_folder(folder, seed)
        if not seed_dir.exists():
            continue
        ended = read_outcome(seed_dir) or TrialOutcome("")
        record = read_record(
            seed,
            state_of(ended.outcome),
            ended.outcome,
            seed_dir,
            searched={"seed": seed},
            tags={**tags, "seed": str(seed), "trial": str(seed)},
            error=ended.error,
            ended=ended.ended,
        )
        records.append(record)
    return records
