"""Task Mixup at a random layer (paper Eq. 3).

    H_cr^{s,l} = lambda H_i^{s,l} + (1 - lambda) H_j^{s,l},    H_cr^{q,l} = lambda H_i^{q,l} + (1 - lambda) H_j^{q,l}

with one layer l, one lambda and one pairing of classes for the support and the query set of a task. T_i comes first: lambda is
its share, and its classes give the labels. Letters: B tasks, N ways, M = K + Q examples a class.

Up to its mixing layer every task passes by itself, with the normalisation batches that the learner always uses: for ProtoNet
support and query are one batch before and after mixing, without which lambda = 1 would not be the task T_i. Every task that
passes, T_j too, moves the running statistics of a ProtoNet.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datg.learners.learner import Learner

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MixPlan:
    """How B tasks are mixed.

    Attributes:
        layers: `(B,)` the layer at which each task is mixed, ascending: tasks are exchangeable, so their order is free, and
            in this order the tasks already mixed and those still to mix are slices at every layer.
        weights: the share of T_i, to be broadcast against `(B, N, M, *shape)`; axes that it lacks are at the end.
        partners: `(B, N, M)` int64, which of all B * N * M examples of the batch each one is mixed with; None where the
            tasks T_j are drawn apart.
    """

    layers: tuple[int, ...]
    weights: Tensor
    partners: Tensor | None = None


@dataclass(frozen=True)
class Mixture:
    """The tasks that were mixed at one layer, and all real tasks there.

    Attributes:
        generated: `(b, N, M, *shape)` of the b tasks mixed at this layer.
        real: `(2B, N, M, *shape)`, all T_i and T_j at this layer.
    """

    generated: Tensor
    real: Tensor


@dataclass(frozen=True)
class MixedTasks:
    """What :func:`mix_tasks` returns.

    Attributes:
        generated: `(B, N, M, *shape)` generated tasks at layer L_S.
        real: `(2B, N, M, *shape)` the tasks T_i and T_j at layer L_S, or None where they were not asked for.
        mixtures: by mixing layer, likewise.
    """

    generated: Tensor
    real: Tensor | None = None
    mixtures: tuple[Mixture, ...] = ()


def draw_layers(tasks: int, low: int, high: int, rng: np.random.Generator) -> tuple[int, ...]:
    """A layer of low..high, uniform, for each of ``tasks`` tasks, in ascending order."""
    return tuple(int(layer) for layer in np.sort(rng.integers(low, high + 1, size=tasks)))


def draw_pairings(tasks: int, ways: int, rng: np.random.Generator) -> Integers:
    """`(tasks, ways)`: which class of the second task meets class r of the first, a random bijection each."""
    return rng.permuted(np.tile(np.arange(ways), (tasks, 1)), axis=1)


def draw_cycles(tasks: int, ways: int, rng: np.random.Generator) -> Integers:
    """`(tasks, ways)`: a partner class for each class, never itself: one random cycle through all of them each."""
    order = draw_pairings(tasks, ways, rng)
    cycles = np.empty_like(order)
    np.put_along_axis(cycles, order, np.roll(order, -1, axis=1), axis=1)
    return cycles


def task_partners(tasks: Integers, pairing: Integers, number: int) -> Tensor:
    """Partners for a :class:`MixPlan`: example m of class r meets example m of class ``pairing[:, r]`` of another task.

    Args:
        tasks: `(B,)` the other task of each.
        pairing: `(B, N)`.
        number: M, examples a class.
    """
    ways = pairing.shape[1]
    classes = tasks[:, None] * ways + pairing
    return torch.from_numpy(classes[..., None] * number + np.arange(number))


def mix(own: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """Eq. 3: ``weights`` times ``own`` plus the rest of ``other``; axes that the weights lack are at their end."""
    weights = weights.view(*weights.shape, *[1] * (own.ndim - weights.ndim))
    return weights * own + (1 - weights) * other


def mix_tasks(
    learner: Learner, first: Tensor, second: Tensor | None, shots: int, plan: MixPlan, *, keep_real: bool = False
) -> MixedTasks:
    """Passes tasks through the shared layers and mixes each at its own layer.

    What becomes a generated task travels as one batch from the input to L_S whatever its mixing layer, so that with all
    weights at 1 the result is, to the bit, that of passing T_i.

    Args:
        learner: encodes examples under the meta-parameters.
        first: the tasks T_i at the input, `(B, N, M, *shape)`.
        second: the tasks T_j, their classes already in the order of the pairing; None with ``plan.partners``.
        shots: K.
        plan: layers, weights and partners.
        keep_real: also pass T_i and T_j themselves up to layer L_S (for the MMD); needs ``second``.
    """
    tasks, done = len(first), 0
    generated, others = first, second  # others: T_j of the tasks still to mix, or all of them
    originals: Tensor | None = None  # T_i of the tasks that are mixed already, where they are still needed
    keep_originals = keep_real or second is None
    mixtures = []
    for layer in range(learner.last_shared + 1):
        until = done + plan.layers.count(layer)
        if until > done:
            pure = generated if originals is None else torch.cat([originals, generated[done:]])
            if others is None:
                assert plan.partners is not None
                other = pure.flatten(0, 2)[plan.partners[done:until]]
            else:
                other = others[done:until] if keep_real else others[: until - done]
            mixed = mix(generated[done:until], other, plan.weights[done:until])
            generated = torch.cat([generated[:done], mixed, generated[until:]])
            originals = pure[:until] if keep_originals else None
            if keep_real:
                assert others is not None
                mixtures.append(Mixture(mixed, torch.cat([pure, others])))
            elif others is not None:
                others = others[until - done :]
            done = until
        if layer == learner.last_shared:
            break
        generated = learner.encode(generated, shots, layer, layer + 1)
        if keep_real or done < tasks:
            if originals is not None:
                originals = learner.encode(originals, shots, layer, layer + 1)
            if others is not None:
                others = learner.encode(others, shots, layer, layer + 1)
    assert done == tasks, (plan.layers, learner.last_shared)
    if not keep_real:
        return MixedTasks(generated)
    assert originals is not None and others is not None
    return MixedTasks(generated, torch.cat([originals, others]), tuple(mixtures))


def encode_changed(
    learner: Learner,
    examples: Tensor,
    shots: int,
    layers: tuple[int, ...],
    change: Callable[[Tensor, slice], Tensor],
) -> Tensor:
    """Passes tasks to layer L_S; each is changed at its own layer by itself.

    Args:
        learner: encodes examples under the meta-parameters.
        examples: at the input, `(B, N, M, *shape)`.
        shots: K.
        layers: `(B,)` ascending.
        change: called as ``change(examples[tasks], tasks)`` at a layer, with the slice of tasks that are changed there.
    """
    done = reached = 0
    for layer in sorted(set(layers)):
        until = done + layers.count(layer)
        examples = learner.encode(examples, shots, reached, layer)
        changed = change(examples[done:until], slice(done, until))
        examples = torch.cat([examples[:done], changed, examples[until:]])
        done, reached = until, layer
    return learner.encode(examples, shots, reached, learner.last_shared)
