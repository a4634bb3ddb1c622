"""Running statistics, accumulated exactly from real tasks before an evaluation.

Training normalises every task by its own statistics and moves no running ones: most of what passes the upper layers under a
mixing strategy are mixtures, which no evaluation ever sees. Moved by momentum the statistics would also be those of the last few
tasks; accumulated, they are those of many under the weights as they are ("precise batch norm": Wu and Johnson 2021, "Rethinking
Batch in BatchNorm", section 3).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from datg.backbones.batch_norm import BatchNorm
from datg.data.episodes import TaskSampler
from datg.learners.learner import Learner
from datg.learners.prediction import examples_at_once
from datg.runtime.random_streams import derive_seed

TASKS = 100  # whose examples are accumulated


def accumulate_running_statistics(
    learner: Learner,
    sampler: TaskSampler,
    *,
    seed: int,
    tasks: int = TASKS,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Set a learner's running statistics to those of real tasks under its weights as they are; nothing where it has none.

    Args:
        learner: left in the mode it was in.
        sampler: of base classes.
        seed: decides the tasks; nothing of the training's random streams is used up.
        tasks: how many.
        progress: called with the number of tasks done; when it raises, the statistics stay what they were.
    """
    if not learner.embeds_once:
        return
    was_training, backbone = learner.training, learner.backbone
    sums = [_Sums() for _ in backbone.blocks]
    learner.eval()  # without dropout, as in an evaluation
    sets = learner.set_sizes(sampler.shots, sampler.queries)
    at_once = max(1, examples_at_once(sampler.classes.examples) // (sampler.ways * (sampler.shots + sampler.queries)))
    try:
        with torch.no_grad():
            for first in range(0, tasks, at_once):
                count = min(at_once, tasks - first)
                drawn = sampler.draw_numbered(first, count, seed=derive_seed(seed, "running statistics"))
                examples = sampler.classes.gather_tasks(drawn.rows)
                for one, found in zip(sums, backbone.statistics_by_block(examples, sets), strict=True):
                    one.add(*found)
                progress(first + count)
    finally:
        learner.train(was_training)
    for block, one in zip(backbone.blocks, sums, strict=True):
        one.write_to(block.norm)  # type: ignore[arg-type]


class _Sums:
    """Sums over examples, of each channel."""

    def __init__(self) -> None:
        self._examples, self._places = 0, 1
        self._means: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, mean: Tensor, variance: Tensor, places: int) -> None:
        """Add examples: `(n, channels)` mean and variance of each over its ``places``."""
        mean, variance = mean.double(), variance.double()
        self._examples, self._places = self._examples + len(mean), places
        self._means = self._means + mean.sum(0)
        self._squares = self._squares + (variance + mean.square()).sum(0)

    def write_to(self, norm: BatchNorm) -> None:
        """Set the running statistics to the mean and the unbiased variance of all values."""
        mean, squares = (torch.as_tensor(total) / self._examples for total in (self._means, self._squares))
        values = self._examples * self._places
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((squares - mean.square()).clamp(min=0) * (values / max(1, values - 1)))
