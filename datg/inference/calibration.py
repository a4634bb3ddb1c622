"""Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"): probabilities that mean what they say.

Squared distances of long embeddings make a softmax say 0.0 or 1.0. Divided by a temperature T, found on validation tasks of the
shape of the user's own, by the least negative log-likelihood of

    p = mean over seeds of softmax(logits / T),

they say how sure an answer is. The answers of one network do not change, those of several seeds, whose probabilities are
averaged, hardly. How well it is said is measured by the expected calibration error on other
validation tasks: the mean difference of confidence and accuracy over bins of confidence.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datg.data.class_table import ClassTable
from datg.data.episodes import DeviceTable, TaskSampler
from datg.learners.learner import Learner
from datg.learners.prediction import embed_all, examples_at_once
from datg.runtime.random_streams import derive_seed, generator

TASKS = 200  # that a temperature is fitted on, and as many others that its calibration error is measured on
BINS = 15  # of confidence, as in the paper
LEAST_QUERIES = 5  # of a class in those tasks, where it has few examples
LOWEST, HIGHEST = 1e-3, 1e5  # temperatures


@dataclass(frozen=True)
class Temperature:
    """Hold a temperature and what it was fitted on.

    Attributes:
        value: what logits are divided by; 1 leaves them as they are.
        error: expected calibration error with it, in [0, 1]; None where it was not fitted.
        error_before: the same without it.
        tasks: of validation classes that it was fitted on, and as many others that the errors were measured on.
        counts: examples of each class in those tasks.
        remark: what one has to know of it.
    """

    value: float = 1.0
    error: float | None = None
    error_before: float | None = None
    tasks: int = 0
    counts: tuple[int, ...] = ()
    remark: str = ""

    def sentence(self) -> str:
        """Return what is to be told of it."""
        if self.error is None or self.error_before is None:
            return f"probabilities are not calibrated: {self.remark}"
        shape = describe_counts(self.counts)
        text = (
            f"temperature {self.value:.3g}, fitted on {self.tasks} validation tasks of {shape}; calibration error on "
            f"{self.tasks} others {self.error_before:.3f} without it, {self.error:.3f} with it"
        )
        return f"{text}; {self.remark}" if self.remark else text


NOT_CALIBRATED = Temperature(remark="nothing was given to fit a temperature on")


def describe_counts(counts: Sequence[int]) -> str:
    """Return how many classes with how many examples there are."""
    few, many = min(counts), max(counts)
    each = f"{few}" if few == many else f"{few} to {many}"
    return f"{len(counts)} classes with {each} example{'' if many == 1 else 's'} each"


def softmax_mean(logits: Tensor, temperature: float) -> Tensor:
    """Return `(..., N)`: the mean over the first axis of softmax(`(seeds, ..., N)` logits / temperature)."""
    return (logits / temperature).softmax(-1).mean(0)


def tables_for(learners: Sequence[Learner], validation: ClassTable, device: torch.device) -> list[DeviceTable]:
    """Return, for each learner, the classes that tasks are drawn from: embedded once where that is the same in every task."""
    table = DeviceTable.from_table(validation, device=device)
    with torch.inference_mode():
        embedded = [embed_all(one.backbone, table) if one.embeds_once else None for one in learners]
    return [table if found is None else found for found in embedded]


def fit_temperature(
    learners: Sequence[Learner],
    tables: Sequence[DeviceTable],
    counts: Sequence[int],
    *,
    queries: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Temperature:
    """Fit a temperature on tasks of validation classes.

    Args:
        learners: the seeds of a model, in evaluation mode.
        tables: of :func:`tables_for`; every class has at least two examples.
        counts: how many support examples each class of the user's task has; a task as near to that as the classes allow is taken.
        queries: of each class, at most.
        seed: of the tasks.
        progress: called with the number of tasks done, and of all.
    """
    shape, queries = nearest_shape(counts, tables[0].counts.tolist(), queries)
    device = tables[0].starts.device
    sampler = TaskSampler(tables[0], ways=len(shape), shots=max(shape), queries=queries)
    labels = torch.repeat_interleave(torch.arange(len(shape)), torch.tensor(shape)).to(device)
    truth = torch.arange(len(shape), device=device).repeat_interleave(queries)
    drawn = sampler.draw_numbered(0, 2 * TASKS, seed=derive_seed(seed, "calibration")).rows
    support = torch.cat([drawn[:, index, :count] for index, count in enumerate(shape)], 1)
    rows = torch.cat([support, drawn[:, :, max(shape) :].flatten(1)], 1)
    with torch.inference_mode():
        logits = []
        for number, (learner, table) in enumerate(zip(learners, tables, strict=True)):

            def told(done: int, before: int = number * len(rows)) -> None:
                progress(before + done, len(learners) * len(rows))

            learner.draw_from(generator(seed, "calibration", "noise", device=device))
            logits.append(_logits_of_tasks(learner, table, rows, labels, told))
        every = torch.stack(logits).double()
    fitted_on, measured_on = every[:, :TASKS], every[:, TASKS:]
    value = best_temperature(fitted_on, truth)
    remark = ""
    if sorted(shape) != sorted(counts):
        remark = f"validation classes allow no tasks of {describe_counts(counts)}, these are the nearest"
    errors = [calibration_error(softmax_mean(measured_on, t), truth) for t in (value, 1.0)]
    return Temperature(value, errors[0], errors[1], TASKS, tuple(shape), remark)


def nearest_shape(counts: Sequence[int], sizes: Sequence[int], queries: int) -> tuple[list[int], int]:
    """Return the examples of each class, and the queries, of the tasks nearest to ``counts`` that classes of ``sizes`` allow."""
    smallest, ordered = min(sizes), sorted(counts)
    left = min(queries, max(min(LEAST_QUERIES, smallest - 1), smallest - max(counts)))
    ways = min(len(ordered), len(sizes))
    chosen = [ordered[round(index * (len(ordered) - 1) / max(1, ways - 1))] for index in range(ways)]
    return [min(count, smallest - left) for count in chosen], left


def _logits_of_tasks(
    learner: Learner, table: DeviceTable, rows: Tensor, labels: Tensor, progress: Callable[[int], None]
) -> Tensor:
    """Return `(tasks, M, N)` logits of `(tasks, S + M)` rows."""
    at_once = max(1, examples_at_once(table.examples) // rows.shape[1])
    logits = []
    for part in rows.split(at_once):
        logits.append(learner.predict(table.gather(part)[:, None], len(labels), labels))
        progress(sum(map(len, logits)))
    return torch.cat(logits)


def best_temperature(logits: Tensor, truth: Tensor) -> float:
    """Return the T with the least negative log-likelihood.

    Args:
        logits: `(seeds, tasks, M, N)` float64.
        truth: `(M,)` the class of each query, the same in every task.
    """
    from scipy.optimize import minimize_scalar  # takes a while to import

    def loss(log_temperature: float) -> float:
        right = softmax_mean(logits, math.exp(log_temperature)).gather(-1, _column(truth, logits))
        return float(-right.clamp_min(1e-300).log().mean())

    # Far too low a temperature makes a plateau of wrong certainties: the minimum is bracketed on a grid first.
    grid = torch.linspace(math.log(LOWEST), math.log(HIGHEST), 38).tolist()
    best = min(range(len(grid)), key=lambda index: loss(grid[index]))
    bounds = (grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)])
    return math.exp(float(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def _column(truth: Tensor, logits: Tensor) -> Tensor:
    return truth[:, None].expand(*logits.shape[1:-1], 1)


def calibration_error(probabilities: Tensor, truth: Tensor) -> float:
    """Return the expected calibration error: sum over bins of confidence of share * abs(accuracy - confidence).

    Args:
        probabilities: `(..., M, N)`.
        truth: `(M,)` the class of each query.
    """
    confidence, answer = probabilities.max(-1)
    right = (answer == truth).double().flatten()
    confidence = confidence.double().flatten()
    bins = (confidence * BINS).long().clamp_max(BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=bins.device).index_add(0, bins, right - confidence)
    return float(gaps.abs().sum() / len(right))
