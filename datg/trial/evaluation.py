"""Accuracy over many numbered tasks: the same tasks whatever the batch size, device or configuration.

What is the same in every task is computed once (:mod:`datg.learners.prediction`).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from datg.data.episodes import TaskSampler
from datg.learners.learner import Learner
from datg.runtime.random_streams import derive_seed, generator
from datg.trial.accuracies import Evaluation


def evaluate(
    learner: Learner,
    sampler: TaskSampler,
    *,
    tasks: int,
    seed: int,
    purpose: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Return mean accuracy of ``learner`` on the numbered tasks 0 to ``tasks - 1`` of a seed.

    Args:
        learner: left in the mode it was in.
        sampler: of validation or novel classes.
        tasks: how many.
        seed: with ``purpose``, decides the tasks.
        purpose: ``validation``, or ``validation-again`` and ``test``, which choose nothing: streams of their own. Noise that a
            learner draws here (Meta-Dropout's) has one, too, but comes block by block, whose size depends on memory.
        progress: called with the number of tasks done.
    """
    was_training = learner.training
    learner.eval()
    # A training that goes on says again where its noise comes from.
    learner.draw_from(generator(seed, purpose, "noise", device=sampler.classes.starts.device))
    learner.set_purpose(purpose)
    try:
        with torch.inference_mode():
            predictor = learner.predictor(sampler.classes, sampler.shots)
            block = max(1, predictor.examples_at_once // (sampler.ways * (sampler.shots + sampler.queries)))
            accuracies = []
            for first in range(0, tasks, block):
                count = min(block, tasks - first)
                drawn = sampler.draw_numbered(first, count, seed=derive_seed(seed, purpose))
                accuracies.append(_accuracy(predictor.logits(drawn.rows)))
                progress(first + count)
            return Evaluation(torch.cat(accuracies).cpu().numpy())
    finally:
        learner.train(was_training)


def _accuracy(logits: Tensor) -> Tensor:
    """Return `(B,)` share of right answers in `(B, N * Q, N)` logits whose queries stand class by class."""
    _, queries, ways = logits.shape
    labels = torch.arange(ways, device=logits.device).repeat_interleave(queries // ways)
    return (logits.argmax(2) == labels).float().mean(1)
