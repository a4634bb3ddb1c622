"""A trial: one configuration trained and validated, in plain Python, without Ray, Optuna or MLflow."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datg.data.episodes import TaskSampler
from datg.errors import ConfigError, StateError
from datg.generation.clustering import Clusters
from datg.learners.learner import Learner
from datg.learners.running_statistics import accumulate_running_statistics
from datg.runtime.random_streams import derive_seed
from datg.storage.checkpoint import load_checkpoint, save_checkpoint
from datg.storage.files import write_json, write_text, write_yaml
from datg.storage.lease import SECONDS_BETWEEN_HEARTBEATS, TRIAL_LEASE, Lease
from datg.trial.accuracies import Evaluation
from datg.trial.clusters import clusters_of_trial
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.evaluation import evaluate
from datg.trial.folder import (
    BEST,
    BEST_VALIDATION,
    CLUSTERS,
    CONFIG,
    LAST,
    NOW,
    PROGRESS,
    Now,
    ValidationReport,
    report_lines,
    scores_of,
    tell_now,
    weights_at,
)
from datg.trial.prepare import make_sampler, make_training

SECONDS_BETWEEN_TELLING = 2.0  # where it is
COLLAPSE_MARGIN = 0.02  # nats: a loss this close to ln N has learned nothing ...
COLLAPSE_ACCURACY = 0.02  # ... if accuracy is this close to chance, too


class StopTrial(Exception):
    """End a trial early when ``report`` raises this."""


class _Interrupted(Exception):
    """Raised inside a trial that was asked to stop."""


@dataclass(frozen=True)
class TrialResult:
    """Say how a trial ended.

    Attributes:
        outcome: ``finished``, ``collapsed`` (finished, but the loss never left ln N), ``stopped`` (by ``report``) or
            ``interrupted`` (by ``stop``, and saved where it was).
        last: the last validation; None if it was interrupted before the first.
    """

    outcome: str
    last: ValidationReport | None


def run_trial(
    config: TrialConfig,
    data: TrialData,
    *,
    report: Callable[[ValidationReport], None],
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[Now], None] = lambda now: None,
    heartbeat: float = SECONDS_BETWEEN_HEARTBEATS,
) -> TrialResult:
    """Train and validate one configuration.

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
        tell: called every :data:`SECONDS_BETWEEN_TELLING` with where the trial is.
        heartbeat: seconds between two signs of life in ``folder``.

    Raises:
        ConfigError: the data have another number of base classes than the configuration trains on.
        TrialDiverged: a loss was NaN or infinite.
        StateError: the checkpoint in ``folder`` is damaged or belongs to another configuration.
        TrialTaken: another process has taken over ``folder``.
    """
    _check_base_classes(config, data)
    run = _Run(config, data, torch.device(device), folder, stop, tell, heartbeat)
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
    finally:
        if folder is not None:
            (folder / NOW).unlink(missing_ok=True)
    return TrialResult("collapsed" if run.collapsed() else "finished", run.history[-1])


def _check_base_classes(config: TrialConfig, data: TrialData) -> None:
    wanted, there = config.base_classes, len(data.base)
    if wanted not in (None, there):
        raise ConfigError(
            f"`base_classes` is {wanted} and the data have {there} base classes; give dataset.with_base_classes({wanted})."
        )


class _Run:
    """A trial on its way: training, validations so far, and their files."""

    def __init__(
        self,
        config: TrialConfig,
        data: TrialData,
        device: torch.device,
        folder: Path | None,
        stop: Callable[[], bool],
        tell: Callable[[Now], None],
        heartbeat: float,
    ) -> None:
        self.config, self.data, self.folder, self.stop, self.tell = config, data, folder, stop, tell
        self.device, self.remark = device, ""
        self.history: list[ValidationReport] = []
        self.lease = None if folder is None else Lease(folder / TRIAL_LEASE, device, heartbeat=heartbeat)
        clusters = clusters_of_trial(config, data.base, device, folder)
        self.training = make_training(config, data, device, clusters)
        base = self.training.batch.sampler.classes
        shared = base if data.validation.examples is data.base.examples else None
        self.validation = make_sampler(config, data.validation, device, sharing=shared)
        self.seconds_before, self.told = 0.0, 0.0
        if folder is not None:
            self._open_folder(folder, clusters)
        self.started = time.perf_counter()

    def _open_folder(self, folder: Path, clusters: Clusters | None) -> None:
        if (folder / LAST).exists():
            state, info = load_checkpoint(folder / LAST)
            same_data = all(info.get(key) == value for key, value in self.data.provenance.items())
            if not (
                self.config.matches(info["config"]) and info["fingerprint"] == self.data.base.fingerprint and same_data
            ):
                raise StateError(
                    f"{folder / LAST} belongs to another configuration or other data; remove the folder to start anew."
                )
            self.remark = info.get("remark", "")
            self._restore(state, info.get("device"))
            self.training.learner.backbone.precision = info.get("precision", "float32")
            self.history = [ValidationReport(**entry) for entry in info["history"]]
            self.seconds_before = info["seconds"]
        assert self.lease is not None
        self.lease.check()
        write_yaml(folder / CONFIG, self.config.to_dict())
        if clusters is not None:
            write_json(folder / CLUSTERS, clusters.describe())
        self._write_progress(folder)

    def _restore(self, state: dict[str, Tensor], device: str | None) -> None:
        """Go on from a checkpoint; one of another kind of device with streams that are derived anew there."""
        here, iteration = self.device.type, int(state["iteration"])
        if device in (None, here):
            self.training.restore(state)
            return
        self.training.restore(state, streams_anew=derive_seed(self.config.seed, "continued", here, iteration))
        self.remark = f"on {here} from iteration {iteration}, on {device} before, with random streams derived anew"

    @property
    def seconds(self) -> float:
        """Return the seconds spent in this trial, over all its runs."""
        return self.seconds_before + time.perf_counter() - self.started

    def between(self, done: int = 0) -> None:
        """Show a sign of life and look whether to stop, between iterations and blocks of ``done`` validation tasks.

        Raises:
            _Interrupted: the trial was asked to stop.
        """
        if self.lease is not None:
            self.lease.heartbeat()
        if time.monotonic() - self.told >= SECONDS_BETWEEN_TELLING:
            self.told, now = time.monotonic(), Now(self.training.iteration, done)
            self.tell(now)
            if self.folder is not None:
                tell_now(self.folder, now)
        if self.stop():
            raise _Interrupted

    def next_validation(self) -> ValidationReport:
        """Train up to the next validation, validate, and save."""
        before = self.history[-1] if self.history else None
        every, total = self.config.training.eval_every, self.config.training.iterations
        self.training.advance(min(total, (before.iteration if before else 0) + every), between=self.between)
        losses = self.training.mean_losses()
        accumulate_running_statistics(
            self.training.learner,
            self.training.batch.sampler,
            seed=self.config.evaluation.seed,
            progress=self.between,
        )
        validation = validate(self.config, self.training.learner, self.validation, progress=self.between)
        improved = before is None or validation.mean > before.objective or self.config.training.keep == "last"
        progress = ValidationReport(
            iteration=self.training.iteration,
            time=time.time(),
            seconds=self.seconds,
            losses=losses,
            accuracy=validation.mean,
            ci95=validation.ci95,
            objective=validation.mean if improved or before is None else before.objective,
            objective_ci95=validation.ci95 if improved or before is None else before.objective_ci95,
            best_iteration=self.training.iteration if improved or before is None else before.best_iteration,
            remark=self.remark,
        )
        self.remark = ""
        self.history.append(progress)
        self.training.forget_losses()
        if self.folder is not None:
            self._save(self.folder, progress, validation if improved else None)
        return progress

    def _save(self, folder: Path, progress: ValidationReport, improved: Evaluation | None) -> None:
        assert self.lease is not None
        self.lease.check()
        if improved is not None:
            improved.save(folder / BEST_VALIDATION, {"iteration": progress.iteration})
            self._save_weights(folder / BEST, progress)
        if self.config.evaluation.novel_curve:
            weights = weights_at(folder, progress.iteration)
            scores_of(weights).unlink(missing_ok=True)  # of a training that was begun anew
            self._save_weights(weights, progress)
        # Last, because it is what a continued trial trusts: the best weights are never older than it says.
        self._save_last(folder)
        self._write_progress(folder)

    def _save_weights(self, path: Path, progress: ValidationReport) -> None:
        scored = {"iteration": progress.iteration, "accuracy": progress.accuracy, "ci95": progress.ci95}
        examples = {"shape": list(self.data.base.shape), "preparation": self.data.base.preparation}
        path.parent.mkdir(exist_ok=True)
        save_checkpoint(path, self.training.learner.state_dict(), {**self._origin(), **scored, **examples})

    def save_midway(self) -> None:
        """Save a trial between two validations."""
        if self.folder is not None and self.lease is not None:
            self.lease.check()
            self._save_last(self.folder)

    def _save_last(self, folder: Path) -> None:
        history = [asdict(entry) for entry in self.history]
        info = {**self._origin(), "history": history, "seconds": self.seconds, "remark": self.remark}
        save_checkpoint(folder / LAST, self.training.state(), info)

    def _origin(self) -> dict[str, Any]:
        """Return what the weights belong to."""
        return {
            "config": self.config.to_dict(),
            "precision": self.training.learner.backbone.precision,
            "device": self.device.type,
            **self.data.provenance,
            "fingerprint": self.data.base.fingerprint,
        }

    def _write_progress(self, folder: Path) -> None:
        write_text(folder / PROGRESS, report_lines([asdict(entry) for entry in self.history]))

    def collapsed(self) -> bool:
        """Return whether the loss is stuck at ln N and no validation was better than chance."""
        last, ways = self.history[-1], self.config.task.ways
        stuck = abs(last.losses["ce"] - math.log(ways)) < COLLAPSE_MARGIN
        return stuck and last.objective < 1 / ways + COLLAPSE_ACCURACY


def validate(
    config: TrialConfig, learner: Learner, sampler: TaskSampler, *, progress: Callable[[int], None] = lambda done: None
) -> Evaluation:
    """Score a learner on the validation tasks of ``config``, the same for every trial of a search."""
    settings = config.evaluation
    return evaluate(
        learner,
        sampler,
        tasks=settings.validation_tasks,
        seed=settings.seed,
        purpose="validation",
        progress=progress,
    )
