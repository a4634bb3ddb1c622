"""How long a search will take: a few iterations and tasks are timed on this machine, before anything of the search begins."""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from datg.data.catalog import Dataset
from datg.generation.clustering import Clusters
from datg.search.settings import SearchSettings
from datg.search.space import with_params
from datg.trial.clusters import cluster_base_classes
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.evaluation import evaluate
from datg.trial.final_evaluation import ON_NOVEL
from datg.trial.preparation import network_to_train
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


def measure_length(searches: Iterable[SearchSettings], dataset: Dataset, *, threads: int, on_gpu: bool) -> Length:
    """Time one training of each learner and strategy of some searches.

    Args:
        searches: all that is to be run.
        dataset: of all of them.
        threads: of a trial.
        on_gpu: whether a trial has a GPU, or a share of one.
    """
    device = torch.device("cuda" if on_gpu else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    data = TrialData.from_dataset(dataset)
    trainings = [config for settings in searches for config in _trainings(settings)]
    try:
        kinds = {_kind(config): config for config in trainings}
        seconds = {kind: _seconds(config, data, device) for kind, config in kinds.items()}
    finally:
        torch.set_num_threads(before)
    return Length(sum(seconds[_kind(config)] for config in trainings), len(trainings), on_gpu)


def _trainings(settings: SearchSettings) -> list[TrialConfig]:
    """Return a configuration for each trial, each reference, and the network that is trained before, if there is one."""
    own = settings.grid or [{}] * settings.trials
    configs = [with_params(settings.config, chosen) for chosen in [*own, *settings.references.values()]]
    network = next((found for config in configs if (found := network_to_train(config)) is not None), None)
    return configs if network is None else [network, *configs]


def _kind(config: TrialConfig) -> tuple[str, str]:
    return config.learner_name, config.strategy_name


def _seconds(config: TrialConfig, data: TrialData, device: torch.device) -> float:
    """Estimate a training with its validations and its final evaluation."""
    training = make_training(config, data, device, _clusters(config, data, device))
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
    validated = validations * evaluated(sizes.validation_tasks, "validation")
    if sizes.novel_curve:
        validated *= 2  # likewise on novel classes, once it has ended
    return trained + validated + evaluated(sizes.test_tasks, ON_NOVEL.purpose)


def _clusters(config: TrialConfig, data: TrialData, device: torch.device) -> Clusters | None:
    """Return clusters of the base classes; by raw features where a network for better ones is not there yet."""
    if config.strategy.missing_network is not None:
        values = config.to_dict()
        config = TrialConfig.from_dict(values | {"strategy": values["strategy"] | {"cluster_features": "raw"}})
    return cluster_base_classes(config, data.base, device)


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
