"""Accuracy on novel classes over training (paper, Figure 4a): measured when training has ended, on weights that it left.

While a trial is under way nobody looks at novel classes, so nothing can be chosen by this curve.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

from datg.data.class_table import ClassTable
from datg.errors import ConfigError
from datg.trial.accuracies import Accuracies, load_evaluation
from datg.trial.final_evaluation import evaluate_best
from datg.trial.folder import CURVE, scores_of
from datg.trial.model import load_best


def evaluate_curve(
    folder: Path,
    novel: ClassTable,
    *,
    device: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Evaluate all weights that an ended trial kept on its first ``validation_tasks`` test tasks; nothing where it kept none.

    What is evaluated already is not evaluated again; weights that cannot be read leave a point out, and nothing else.
    """
    for weights in sorted(folder.glob(f"{CURVE}/*.safetensors"), key=lambda path: int(path.stem)):
        scores = scores_of(weights)
        if not scores.exists():
            with contextlib.suppress(ConfigError):
                tasks = load_best(weights).config.evaluation.validation_tasks
                evaluate_best(weights, novel, device=device, tasks=tasks, progress=progress, save_to=scores)


def read_curve(folder: Path) -> dict[int, Accuracies]:
    """Return `(tasks,)` accuracies on novel classes by iteration, in order; without points that cannot be read."""
    curve: dict[int, Accuracies] = {}
    for path in sorted(folder.glob(f"{CURVE}/*.parquet"), key=lambda path: int(path.stem)):
        with contextlib.suppress(OSError, ValueError, KeyError):  # pyarrow's errors are of these kinds
            curve[int(path.stem)] = load_evaluation(path).accuracies
    return curve
