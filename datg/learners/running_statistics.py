"""Running statistics, accumulated exactly from real tasks before an evaluation.

Training normalises every task by its own statistics and moves no running ones: most of what passes the upper layers under a
mixing strategy are mixtures, which no evaluation ever sees. Moved by momentum the statistics would also be those of the last few
tasks; accumulated, they are those of many under the weights as they are ("precise batch norm": Wu and Johnson 2021, "Rethinking
Batch in BatchNorm", section 3).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from datg.backbones.backbone import Backbone, Block
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
    was_training = learner.training
    learner.eval()  # without dropout, as in an evaluation
    at_once = max(1, examples_at_once(sampler.classes.examples) // (sampler.ways * (sampler.shots + sampler.queries)))
    try:
        with torch.no_grad(), _accumulated(learner.backbone):
            for first in range(0, tasks, at_once):
                count = min(at_once, tasks - first)
                drawn = sampler.draw_numbered(first, count, seed=derive_seed(seed, "running statistics"))
                examples = sampler.classes.gather_tasks(drawn.rows)
                learner.encode(examples, sampler.shots, 0, learner.backbone.depth)
                progress(first + count)
    finally:
        learner.train(was_training)


@contextmanager
def _accumulated(backbone: Backbone) -> Iterator[None]:
    """Set the running statistics of every block to those of the examples that pass it meanwhile."""
    sums = [_Sums() for _ in backbone.blocks]
    blocks: list[Block] = list(backbone.blocks)  # type: ignore[arg-type]
    hooks = [block.affine.register_forward_hook(one.add) for block, one in zip(blocks, sums, strict=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for block, one in zip(blocks, sums, strict=True):
        mean, variance = one.mean_and_variance()
        assert block.norm.running_mean is not None and block.norm.running_var is not None
        block.norm.running_mean.copy_(mean)
        block.norm.running_var.copy_(variance)


class _Sums:
    """Sums over all examples, and places of a picture, of each channel."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, layer: nn.Module, inputs: Any, preactivations: Tensor) -> None:
        """Add the `(n, channels, ...)` output of an affine map."""
        values = preactivations.transpose(0, 1).flatten(1).double()
        self._count += values.shape[1]
        self._sum = self._sum + values.sum(1)
        self._squares = self._squares + values.square().sum(1)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Return the `(channels,)` mean and the unbiased variance."""
        mean = torch.as_tensor(self._sum) / self._count
        squares = torch.as_tensor(self._squares) / self._count
        return mean, (squares - mean.square()).clamp(min=0) * (self._count / max(1, self._count - 1))
