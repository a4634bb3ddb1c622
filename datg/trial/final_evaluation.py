"""Evaluations of a trial's best weights once it has ended: on novel classes, and on fresh validation tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from datg.data.class_table import ClassTable
from datg.errors import ConfigError
from datg.trial.accuracies import Evaluation
from datg.trial.evaluation import evaluate
from datg.trial.folder import EVALUATION, FRESH_VALIDATION
from datg.trial.model import load_best
from datg.trial.prepare import make_sampler


@dataclass(frozen=True)
class EvaluationKind:
    """Hold what an ended trial is evaluated on.

    Attributes:
        part: of the data set, whose classes the tasks are drawn from.
        purpose: the stream that the tasks are numbered in.
        file: in the trial's folder.
    """

    part: str
    purpose: str
    file: str


ON_NOVEL = EvaluationKind("novel", "test", EVALUATION)
ON_FRESH_VALIDATION = EvaluationKind("validation", "validation-again", FRESH_VALIDATION)


def choose_device(name: str | None) -> torch.device:
    """Return the device called ``name``; a GPU if there is one by default.

    Raises:
        ConfigError: there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"`--device` must be a device of this machine, cpu or cuda, got {name}.") from error
    return device


def evaluate_best(
    path: Path,
    examples: ClassTable,
    *,
    device: str | None = None,
    tasks: int | None = None,
    shots: int | None = None,
    purpose: str = ON_NOVEL.purpose,
    progress: Callable[[int], None] = lambda done: None,
    save_to: Path | None = None,
) -> Evaluation:
    """Evaluate the checkpoint ``path`` on as many tasks as a final evaluation has.

    Args:
        path: best weights.
        examples: classes that the tasks are drawn from.
        device: where; a GPU if there is one by default.
        tasks: how many; the configuration's number by default.
        shots: K; the configuration's number by default.
        purpose: the stream that the tasks are numbered in.
        progress: called with the number of tasks done.
        save_to: a parquet file for the accuracy of every task.
    """
    best = load_best(path)
    config = best.config
    if examples.shape != tuple(best.info["shape"]):
        raise ConfigError(
            f"{path} was trained on examples of shape {best.info['shape']}, the data have {list(examples.shape)}; import them "
            "with the same --image-size."
        )
    if shots is not None:
        config = config.model_copy(update={"task": config.task.model_copy(update={"shots": shots})})
    chosen = choose_device(device)
    sampler = make_sampler(config, examples, chosen)
    evaluation = evaluate(
        best.learner.to(chosen),
        sampler,
        tasks=tasks or config.evaluation.test_tasks,
        seed=config.evaluation.seed,
        purpose=purpose,
        progress=progress,
    )
    if save_to is not None:
        info = {"iteration": best.info["iteration"], "shots": config.task.shots, "seed": config.evaluation.seed}
        evaluation.save(save_to, {**info, "fingerprint": examples.fingerprint})
    return evaluation
