"""The final evaluation of a trial's best weights on tasks of novel classes."""

from collections.abc import Callable
from pathlib import Path

import torch

from datg.data.class_table import ClassTable
from datg.errors import ConfigError
from datg.trial.evaluation import Evaluation, evaluate
from datg.trial.model import load_best
from datg.trial.prepare import make_sampler


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
    novel: ClassTable,
    *,
    device: str | None = None,
    tasks: int | None = None,
    shots: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    save_to: Path | None = None,
) -> Evaluation:
    """Evaluate the checkpoint ``path`` on the test tasks of ``novel``.

    Args:
        path: best weights.
        novel: novel classes.
        device: where; a GPU if there is one by default.
        tasks: how many; the configuration's number by default.
        shots: K; the configuration's number by default.
        progress: called with the number of tasks done.
        save_to: a parquet file for the accuracy of every task.
    """
    best = load_best(path)
    config = best.config
    if novel.shape != tuple(best.info["shape"]):
        raise ConfigError(
            f"{path} was trained on examples of shape {best.info['shape']}, the data have {list(novel.shape)}."
        )
    if shots is not None:
        config = config.model_copy(update={"task": config.task.model_copy(update={"shots": shots})})
    chosen = choose_device(device)
    sampler = make_sampler(config, novel, chosen)
    evaluation = evaluate(
        best.learner.to(chosen),
        sampler,
        tasks=tasks or config.evaluation.test_tasks,
        seed=config.evaluation.seed,
        purpose="test",
        progress=progress,
    )
    if save_to is not None:
        info = {"iteration": best.info["iteration"], "shots": config.task.shots, "seed": config.evaluation.seed}
        evaluation.save(save_to, {**info, "fingerprint": novel.fingerprint})
    return evaluation
