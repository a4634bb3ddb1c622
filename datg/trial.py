"""A trial: one configuration trained and validated, in plain Python, without Ray, Optuna or MLflow."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from datg.backbones import BACKBONES
from datg.checkpoint import load_checkpoint, save_checkpoint
from datg.claim import CLAIM, Claim
from datg.data.catalog import Dataset
from datg.data.class_table import ClassTable
from datg.data.import_settings import PARTS
from datg.data.splits import check_split, check_tasks
from datg.errors import ConfigError, StateError
from datg.evaluation import Evaluation, evaluate
from datg.files import write_json, write_text, write_yaml
from datg.generation.clustering import Clusters
from datg.learners.learner import Learner
from datg.network import build_learner
from datg.partition import check_clusters, partition
from datg.precision import resolve
from datg.seeding import Streams
from datg.strategies.clustered_mixup import ClusteredMixup
from datg.strategies.strategy import Batch
from datg.tasks import Classes, TaskSampler
from datg.training import Schedule, Training, make_optimiser
from datg.trial_config import TrialConfig

LAST, BEST, PROGRESS, CLUSTERS, CONFIG = (
    "last.safetensors",
    "best.safetensors",
    "progress.jsonl",
    "clusters.json",
    "config.yaml",
)
COLLAPSE_MARGIN = 0.02  # nats: a loss this close to ln N has learned nothing ...
COLLAPSE_ACCURACY = 0.02  # ... if accuracy is this close to chance, too


class StopTrial(Exception):
    """Raised by ``report`` to end a trial early."""


class _Interrupted(Exception):
    """Raised inside a trial that was asked to stop."""


@dataclass(frozen=True)
class TrialData:
    """What a trial may see: base and validation classes, and where they come from. Never the novel classes.

    Attributes:
        base: trained on.
        validation: scored on.
        provenance: fingerprint and split of the data set, saved with every result.
    """

    base: ClassTable
    validation: ClassTable
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> "TrialData":
        """The parts of ``dataset`` that a trial may see."""
        return cls(dataset.part("base"), dataset.part("validation"), provenance_of(dataset))


def provenance_of(dataset: Dataset) -> dict[str, Any]:
    """Which data a result belongs to."""
    own = {"fingerprint": dataset.table.fingerprint, "split": dataset.split.model_dump()}
    other = dataset.tested_on
    return own if other is None else {**own, "tested on": {"dataset": other.name, **provenance_of(other)}}


@dataclass(frozen=True)
class Progress:
    """One validation.

    Attributes:
        iteration: updates done.
        time: when, in seconds since 1970.
        seconds: spent in this trial so far, over all its runs.
        losses: mean of each part since the last validation.
        accuracy: on the validation tasks.
        ci95: half-width of its 95 % interval over tasks.
        objective: the validation accuracy of the weights that are kept: the best so far, or the last.
        objective_ci95: its half-width.
        best_iteration: when that was.
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


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended.

    Attributes:
        outcome: ``finished``, ``collapsed`` (finished, but the loss never left ln N), ``stopped`` (by ``report``) or
            ``interrupted`` (by ``stop``, and saved where it was).
        last: the last validation; None if it was interrupted before the first.
    """

    outcome: str
    last: Progress | None


def check_trial(config: TrialConfig, dataset: Dataset) -> None:
    """Checks a configuration against the data, before anything runs.

    Raises:
        ConfigError: too many clusters for the base classes, or a backbone that cannot read the examples.
        DataError: a part of the split has too few classes or examples for the tasks.
    """
    task = config.task
    check_split(dataset.split, dataset.table.sizes)
    parts = {part: dataset.part(part).sizes for part in PARTS}
    check_tasks(parts, ways=task.ways, shots=task.shots, queries=task.queries)
    shape = dataset.table.shape
    BACKBONES[config.backbone_name].check_shape(shape)
    problems = config.strategy.problems(config.surroundings(shape))
    if problems:
        raise ConfigError("\n".join(problems))
    if isinstance(config.strategy, ClusteredMixup):
        check_clusters(config, dataset.part("base"))


def make_sampler(
    config: TrialConfig, table: ClassTable, device: torch.device, *, sharing: Classes | None = None
) -> TaskSampler:
    """Draws tasks of the configured geometry from the classes of ``table``; see :meth:`Classes.of`."""
    task = config.task
    return TaskSampler(
        Classes.of(table, device=device, sharing=sharing), ways=task.ways, shots=task.shots, queries=task.queries
    )


def run_trial(
    config: TrialConfig,
    data: TrialData,
    *,
    report: Callable[[Progress], None],
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> TrialResult:
    """Trains and validates one configuration.

    Args:
        config: checked against the data by :func:`check_trial`.
        data: base and validation classes.
        report: called after every validation; may raise :class:`StopTrial`. A continued trial first reports the last
            validation of its checkpoint once more, because the process that died may not have passed it on.
        folder: where checkpoints, progress and clusters are kept; a trial found there goes on where it was, as if it had
            never stopped (bitwise on a CPU).
        device: where to train.
        stop: asked before every iteration and between blocks of validation tasks; when it says yes, the trial saves where
            it is and ends.

    Raises:
        TrialDiverged: a loss was NaN or infinite.
        StateError: the checkpoint in ``folder`` is damaged or belongs to another configuration.
        TrialTaken: another process has taken over ``folder``.
    """
    run = _Run(config, data, torch.device(device), folder, stop)
    try:
        if run.history:
            report(run.history[-1])
        while not run.history or run.history[-1].iteration < config.training.iterations:
            report(run.next_validation())
    except StopTrial:
        return TrialResult("stopped", run.history[-1])
    except _Interrupted:
        run.save_midway()
        return TrialResult("interrupted", run.history[-1] if run.history else None)
    return TrialResult("collapsed" if run.collapsed() else "finished", run.history[-1])


class _Run:
    """A trial on its way: training, validations so far, and their files."""

    def __init__(
        self,
        config: TrialConfig,
        data: TrialData,
        device: torch.device,
        folder: Path | None,
        stop: Callable[[], bool],
    ) -> None:
        self.config, self.data, self.folder, self.stop = config, data, folder, stop
        self.history: list[Progress] = []
        self.claim = None if folder is None else Claim(folder / CLAIM, device)
        clusters = partition(config, data.base, device)
        self.training = make_training(config, data, device, clusters)
        base = self.training.batch.sampler.classes
        shared = base if data.validation.examples is data.base.examples else None
        self.validation = make_sampler(config, data.validation, device, sharing=shared)
        self.seconds_before = 0.0
        if folder is not None:
            self._open_folder(folder, clusters)
        self.started = time.perf_counter()

    def _open_folder(self, folder: Path, clusters: Clusters | None) -> None:
        if (folder / LAST).exists():
            state, info = load_checkpoint(folder / LAST)
            same_data = all(info.get(key) == value for key, value in self.data.provenance.items())
            if not (
                self.config.is_that_of(info["config"])
                and info["fingerprint"] == self.data.base.fingerprint
                and same_data
            ):
                raise StateError(
                    f"{folder / LAST} belongs to another configuration or other data; remove the folder to start anew."
                )
            self.training.restore(state)
            self.training.learner.backbone.precision = info.get("precision", "float32")
            self.history = [Progress(**entry) for entry in info["history"]]
            self.seconds_before = info["seconds"]
        assert self.claim is not None
        self.claim.check()
        write_yaml(folder / CONFIG, self.config.values())
        if clusters is not None:
            write_json(folder / CLUSTERS, clusters.describe())
        self._write_progress(folder)

    @property
    def seconds(self) -> float:
        """Spent in this trial, over all its runs."""
        return self.seconds_before + time.perf_counter() - self.started

    def between(self, done: int = 0) -> None:
        """Called between iterations and blocks of validation tasks.

        Raises:
            _Interrupted: the trial was asked to stop.
        """
        if self.claim is not None:
            self.claim.sign()
        if self.stop():
            raise _Interrupted

    def next_validation(self) -> Progress:
        """Trains up to the next validation, validates, and saves."""
        before = self.history[-1] if self.history else None
        every, total = self.config.training.eval_every, self.config.training.iterations
        self.training.advance(min(total, (before.iteration if before else 0) + every), between=self.between)
        losses = self.training.mean_losses()
        found = validate(self.config, self.training.learner, self.validation, progress=self.between)
        improved = before is None or found.mean > before.objective or self.config.training.keep == "last"
        progress = Progress(
            iteration=self.training.iteration,
            time=time.time(),
            seconds=self.seconds,
            losses=losses,
            accuracy=found.mean,
            ci95=found.ci95,
            objective=found.mean if improved or before is None else before.objective,
            objective_ci95=found.ci95 if improved or before is None else before.objective_ci95,
            best_iteration=self.training.iteration if improved or before is None else before.best_iteration,
        )
        self.history.append(progress)
        self.training.forget_losses()
        if self.folder is not None:
            self._save(self.folder, progress, improved=improved)
        return progress

    def _save(self, folder: Path, progress: Progress, *, improved: bool) -> None:
        assert self.claim is not None
        self.claim.check()
        if improved:
            best = {"iteration": progress.iteration, "accuracy": progress.accuracy, "ci95": progress.ci95}
            shape = list(self.data.base.shape)
            save_checkpoint(
                folder / BEST, self.training.learner.state_dict(), {**self._origin(), **best, "shape": shape}
            )
        # Last, because it is what a continued trial trusts: the best weights are never older than it says.
        self._save_last(folder)
        self._write_progress(folder)

    def save_midway(self) -> None:
        """Saves a trial between two validations."""
        if self.folder is not None and self.claim is not None:
            self.claim.check()
            self._save_last(self.folder)

    def _save_last(self, folder: Path) -> None:
        history = [asdict(entry) for entry in self.history]
        info = {**self._origin(), "history": history, "seconds": self.seconds}
        save_checkpoint(folder / LAST, self.training.state(), info)

    def _origin(self) -> dict[str, Any]:
        """What the weights belong to."""
        return {
            "config": self.config.values(),
            "precision": self.training.learner.backbone.precision,
            **self.data.provenance,
            "fingerprint": self.data.base.fingerprint,
        }

    def _write_progress(self, folder: Path) -> None:
        write_text(folder / PROGRESS, progress_lines([asdict(entry) for entry in self.history]))

    def collapsed(self) -> bool:
        """Whether the loss is stuck at ln N and no validation was better than chance."""
        last, ways = self.history[-1], self.config.task.ways
        stuck = abs(last.losses["ce"] - math.log(ways)) < COLLAPSE_MARGIN
        return stuck and last.objective < 1 / ways + COLLAPSE_ACCURACY


def make_training(
    config: TrialConfig, data: TrialData, device: torch.device, clusters: Clusters | None = None
) -> Training:
    """A training at its beginning.

    Args:
        config: checked.
        data: its base classes are trained on.
        device: where.
        clusters: of the base classes, if the strategy works with any.
    """
    settings = config.training
    learner = build_learner(config, data.base.shape).to(device)
    learner.backbone.precision = resolve(settings.precision, device)
    if settings.compile:
        learner.backbone.compile_blocks()
    memberships = None if clusters is None else torch.from_numpy(clusters.memberships()).to(device)
    return Training(
        learner,
        config.strategy,
        Batch(
            make_sampler(config, data.base, device), settings.batch, Streams.of(config.seed, device=device), memberships
        ),
        make_optimiser(
            learner,
            settings.optimiser,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        ),
        Schedule(
            lr=settings.lr,
            iterations=settings.iterations,
            milestones=tuple(settings.milestones),
            gamma=settings.gamma,
        ),
    )


def validate(
    config: TrialConfig, learner: Learner, sampler: TaskSampler, *, progress: Callable[[int], None] = lambda done: None
) -> Evaluation:
    """Scores a learner on the validation tasks of ``config``, the same for every trial of a search."""
    settings = config.evaluation
    return evaluate(
        learner,
        sampler,
        tasks=settings.validation_tasks,
        seed=settings.seed,
        purpose="validation",
        progress=progress,
    )


def progress_lines(history: list[dict[str, Any]]) -> str:
    """Validations as the lines of their file."""
    return "".join(json.dumps(entry) + "\n" for entry in history)


def read_progress(folder: Path) -> list[Progress]:
    """The validations of the trial in ``folder`` so far; of a damaged file, those before the damage."""
    entries = []
    try:
        for line in (folder / PROGRESS).read_bytes().splitlines():
            entries.append(Progress(**json.loads(line)))
    except (FileNotFoundError, ValueError, TypeError):
        pass
    return entries
