"""How long a search will take: a few iterations and tasks are timed on this machine, before anything of the search begins."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

from datg.data.catalog import Dataset
from datg.search.settings import SearchSettings
from datg.search.space import with_params
from datg.trial.clusters import cluster_base_classes
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.evaluation import evaluate
from datg.trial.final_evaluation import ON_NOVEL
from datg.trial.preparation import vanilla_of
from datg.trial.prepare import make_sampler, make_training

SECONDS = 2.0  # that each of training, validation and evaluation is timed for
LEAST_ITERATIONS = 3  # however long they take; the first one is not counted


@dataclass(frozen=True)
class Length:
    """Hold the seconds that the trainings of a search take one after the other, pruned by nobody.

    Attributes:
        seconds: of all trials and references.
        trainings: how many those are.
        on_gpu: whether they were timed on one.
    """

    seconds: float
    trainings: int
    on_gpu: bool

    def at_once(self, number: int) -> float:
        """Return the seconds that they take when ``number`` run at once."""
        return self.seconds / max(1, min(number, self.trainings))


def measure_length(settings: SearchSettings, dataset: Dataset, threads: int) -> Length:
    """Time one training of each learner and strategy of a search, with as many threads as a trial gets."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    data = TrialData.from_dataset(dataset)
    try:
        kinds = {_kind(config): config for config in _trainings(settings)}
        seconds = {kind: _seconds(config, data, device) for kind, config in kinds.items()}
    finally:
        torch.set_num_threads(before)
    counts = Counter(_kind(config) for config in _trainings(settings))
    return Length(
        sum(seconds[kind] * count for kind, count in counts.items()), sum(counts.values()), device.type == "cuda"
    )


def _trainings(settings: SearchSettings) -> list[TrialConfig]:
    """Return a configuration for each trial and each reference."""
    own = settings.grid or [{}] * settings.trials
    return [with_params(settings.config, chosen) for chosen in [*own, *settings.references.values()]]


def _kind(config: TrialConfig) -> tuple[str, str]:
    return config.learner_name, config.strategy_name


def _seconds(config: TrialConfig, data: TrialData, device: torch.device) -> float:
    """Estimate a training with its validations and its final evaluation."""
    if (
        config.strategy.missing_network is not None
    ):  # timed without clusters: those come from a network that is not there yet
        config = vanilla_of(config)
    training = make_training(config, data, device, cluster_base_classes(config, data.base, device))
    training.advance(1)
    began, updates = time.perf_counter(), 0
    while updates < LEAST_ITERATIONS or time.perf_counter() - began < SECONDS:
        updates += 1
        training.advance(1 + updates)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    iterations = config.training.iterations
    trained = (time.perf_counter() - began) / updates * iterations
    sampler, sizes = make_sampler(config, data.validation, device), config.evaluation

    def evaluated(tasks: int, purpose: str) -> float:
        return _seconds_of_tasks(
            tasks,
            lambda progress: evaluate(
                training.learner, sampler, tasks=tasks, seed=sizes.seed, purpose=purpose, progress=progress
            ),
        )

    validations = -(-iterations // config.training.eval_every)
    return (
        trained
        + validations * evaluated(sizes.validation_tasks, "validation")
        + evaluated(sizes.test_tasks, ON_NOVEL.purpose)
    )


class _Enough(Exception):
    """Ends an evaluation that has been timed for long enough."""


def _seconds_of_tasks(tasks: int, run: Callable[[Callable[[int], None]], object]) -> float:
    """Estimate an evaluation of ``tasks`` tasks from its first blocks; the first one is preceded by what is done once."""
    began, ends = time.perf_counter(), list[tuple[int, float]]()

    def progress(done: int) -> None:
        ends.append((done, time.perf_counter() - began))
        if len(ends) > 1 and ends[-1][1] > SECONDS:
            raise _Enough

    with contextlib.suppress(_Enough):
        run(progress)
    (first, first_end), (last, last_end) = ends[0], ends[-1]
    each = (last_end - first_end) / (last - first) if last > first else last_end / last
    return last_end + each * (tasks - last)
