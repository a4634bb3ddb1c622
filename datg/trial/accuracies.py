"""Accuracies of tasks, and how sure a mean of them is: over tasks and over training seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from datg.storage.files import replacing

NORMAL_95 = 1.96
TWO_SIDED_95 = 0.975  # the quantile of an interval that leaves out 2.5 % on each side

Accuracies = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Mean:
    """Hold a mean with its 95 % interval.

    Attributes:
        value: the mean.
        ci95: half-width of the interval; None for fewer than two values.
    """

    value: float
    ci95: float | None

    @property
    def holds_zero(self) -> bool:
        """Return whether the interval contains 0; without one, nothing is known, so it does."""
        return self.ci95 is None or abs(self.value) <= self.ci95


def over_tasks(values: npt.NDArray[np.floating[Any]]) -> Mean:
    """Return the mean of `(tasks,)` values with a normal interval, 1.96 std / sqrt(tasks)."""
    return Mean(float(values.mean(dtype=np.float64)), _half_width(values, NORMAL_95))


def over_seeds(values: Sequence[float]) -> Mean:
    """Return the mean of one value a training seed with Student's interval, t(0.975, n - 1) std / sqrt(n)."""
    from scipy.special import stdtrit  # takes a while to import

    quantile = float(stdtrit(len(values) - 1, TWO_SIDED_95)) if len(values) > 1 else 0.0
    return Mean(float(np.mean(values)), _half_width(np.asarray(values, np.float64), quantile))


def _half_width(values: npt.NDArray[np.floating[Any]], quantile: float) -> float | None:
    if len(values) < 2:
        return None
    return quantile * float(values.std(dtype=np.float64, ddof=1)) / len(values) ** 0.5


@dataclass(frozen=True)
class Summary:
    """Summarise accuracies, or differences of accuracies, of several training seeds.

    Attributes:
        mean: over seeds and tasks.
        ci95: half-width of the 95 % interval over tasks, of the seeds' mean on each task: how sure the mean of these very
            trainings is.
        seeds_ci95: half-width of Student's 95 % interval over seeds: how sure it is of the method; None for one seed.
        spread: standard deviation over seeds (ddof 1); None for one seed.
        seeds: how many.
    """

    mean: float
    ci95: float
    seeds_ci95: float | None
    spread: float | None
    seeds: int


def summarise(by_seed: Sequence[npt.NDArray[np.floating[Any]]]) -> Summary:
    """Summarise `(tasks,)` values on the same tasks, one array a seed."""
    values = np.stack(by_seed).astype(np.float64)
    tasks, seeds = over_tasks(values.mean(0)), over_seeds(values.mean(1).tolist())
    spread = None if seeds.ci95 is None else float(values.mean(1).std(ddof=1))
    return Summary(tasks.value, tasks.ci95 or 0.0, seeds.ci95, spread, len(values))


@dataclass(frozen=True)
class Evaluation:
    """Hold the accuracies of numbered tasks.

    Attributes:
        accuracies: `(tasks,)` float32, the share of queries classified correctly.
    """

    accuracies: Accuracies

    @property
    def mean(self) -> float:
        """Return mean accuracy over tasks."""
        return over_tasks(self.accuracies).value

    @property
    def ci95(self) -> float:
        """Return half-width of the 95 % interval of the mean over tasks; NaN for one task."""
        half_width = over_tasks(self.accuracies).ci95
        return math.nan if half_width is None else half_width

    def save(self, path: Path, info: dict[str, Any]) -> None:
        """Write one row a task, with ``info`` in the schema's metadata."""
        table = pa.table({"task": pa.array(range(len(self.accuracies))), "accuracy": self.accuracies})
        metadata = {key: str(value) for key, value in info.items()}
        with replacing(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)


def load_evaluation(path: Path) -> Evaluation:
    """Read what :meth:`Evaluation.save` wrote.

    Raises:
        OSError: it cannot be read, or is no such file (pyarrow's errors are OSError, ValueError and KeyError).
    """
    return Evaluation(pq.read_table(path).column("accuracy").to_numpy())
