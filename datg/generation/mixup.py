"""Task Mixup at a random layer (paper Eq. 3).

    H_cr^{s,l} = lambda H_i^{s,l} + (1 - lambda) H_j^{s,l},    H_cr^{q,l} = lambda H_i^{q,l} + (1 - lambda) H_j^{q,l}

with one layer l, one lambda and one pairing of classes for the support and the query set of a task.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datg.learners.learner import Learner, Sets


@dataclass(frozen=True)
class MixPlan:
    """How B pairs of tasks are mixed.

    Attributes:
        layers: `(B,)` the layer of each pair, ascending: tasks are exchangeable, so their order is free, and in this
            order the tasks already mixed and those still to mix are slices at every layer.
        weights: `(B,)` lambda, the share of the first task.
        pairing: `(B, N)` which class of the second task meets class r of the first: a random bijection.
    """

    layers: tuple[int, ...]
    weights: Tensor
    pairing: Tensor


def draw_mix_plan(
    tasks: int,
    *,
    ways: int,
    alpha: float,
    beta: float,
    low: int,
    high: int,
    rng: np.random.Generator,
    device: torch.device,
) -> MixPlan:
    """Draws l uniform in low..high, lambda ~ Beta(alpha, beta) and a class pairing for each of ``tasks`` pairs."""
    layers = np.sort(rng.integers(low, high + 1, size=tasks))
    weights = rng.beta(alpha, beta, size=tasks)
    pairing = rng.permuted(np.tile(np.arange(ways), (tasks, 1)), axis=1)
    return MixPlan(
        layers=tuple(int(layer) for layer in layers),
        weights=torch.from_numpy(weights).float().to(device),
        pairing=torch.from_numpy(pairing).to(device),
    )


def mix(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Eq. 3 for one set: ``weights`` `(B,)` times ``first`` plus the rest of ``second``, both `(B, N, m, *shape)`."""
    weights = weights.view(-1, *[1] * (first.ndim - 1))
    return weights * first + (1 - weights) * second


@dataclass(frozen=True)
class MixedTasks:
    """What :func:`mix_tasks` returns: sets at layer L_S.

    Attributes:
        mixed: the B generated tasks.
        first: the tasks T_i, or None where they were not needed to the end.
        second: the tasks T_j, likewise.
    """

    mixed: Sets
    first: Sets | None
    second: Sets | None


def mix_tasks(learner: Learner, first: Sets, second: Sets, plan: MixPlan, *, keep_real: bool) -> MixedTasks:
    """Passes pairs of tasks through the shared layers and mixes each pair at its own layer.

    Args:
        learner: encodes sets under the meta-parameters.
        first: the sets of T_i at the input, each `(B, N, m, *shape)`.
        second: the sets of T_j at the input, their classes already in the order of the pairing.
        plan: layers and weights.
        keep_real: also pass T_i and T_j themselves up to layer L_S (for the MMD).
    """
    mixed: Sets | None = None
    done = 0  # pairs mixed so far
    offset = 0  # pairs no longer in first and second
    for layer in range(learner.last_shared + 1):
        until = done + plan.layers.count(layer)
        if until > done:
            here = slice(done - offset, until - offset)
            weights = plan.weights[done:until]
            new = tuple(mix(a[here], b[here], weights) for a, b in zip(first, second, strict=True))
            mixed = new if mixed is None else tuple(torch.cat(pair) for pair in zip(mixed, new, strict=True))
            done = until
        if layer == learner.last_shared:
            break
        if not keep_real:
            first = tuple(a[done - offset :] for a in first)
            second = tuple(b[done - offset :] for b in second)
            offset = done
        if keep_real or done < len(plan.layers):
            first = learner.encode(first, layer, layer + 1)
            second = learner.encode(second, layer, layer + 1)
        if mixed is not None:
            mixed = learner.encode(mixed, layer, layer + 1)
    assert mixed is not None and done == len(plan.layers)
    return MixedTasks(mixed, first if keep_real else None, second if keep_real else None)
