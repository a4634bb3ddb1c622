"""Task Mixup at a random layer (paper Eq. 3).

    H_cr^{s,l} = lambda H_i^{s,l} + (1 - lambda) H_j^{s,l},    H_cr^{q,l} = lambda H_i^{q,l} + (1 - lambda) H_j^{q,l}

with one layer l, one lambda and one pairing of classes for the support and the query set of a task. T_i comes first: lambda is
its share, and its classes give the labels. Letters: B tasks, N ways, M = K + Q examples a class.

Up to its mixing layer every task passes by itself, with the normalisation batches that the learner always uses: for ProtoNet
support and query are one batch before and after mixing, without which lambda = 1 would not be the task T_i.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datg.backbones.backbone import flatten_tasks, unflatten_tasks
from datg.learners.learner import Learner
from datg.runtime.gpu import wants_few_kernels

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MixPlan:
    """Say how B tasks are mixed.

    Attributes:
        layers: `(B,)` the layer at which each task is mixed, ascending: tasks are exchangeable, so their order is free, and
            in this order the tasks of a layer are a slice.
        weights: the share of T_i, to be broadcast against `(B, N, M, *shape)`; axes that it lacks are at the end.
        partners: `(B, N, M)` int64, which of all B * N * M examples of the batch each one is mixed with; None where the
            tasks T_j are drawn apart.
    """

    layers: tuple[int, ...]
    weights: Tensor
    partners: Tensor | None = None


@dataclass(frozen=True)
class Mixture:
    """Hold the tasks that were mixed at one layer, and all real tasks there.

    Attributes:
        generated: `(b, N, M, *shape)` of the b tasks mixed at this layer.
        originals: `(2B, N, M, *shape)` in parts: T_i and T_j at this layer.
    """

    generated: Tensor
    originals: tuple[Tensor, ...]

    @property
    def real(self) -> Tensor:
        """Return `(2B, N, M, *shape)`, all T_i and T_j at this layer."""
        return join(*self.originals)


@dataclass(frozen=True)
class MixedTasks:
    """Hold what :func:`mix_tasks` returns.

    Attributes:
        generated: `(B, N, M, *shape)` generated tasks at layer L_S.
        real: `(2B, N, M, *shape)` the tasks T_i and T_j at layer L_S, or None where they were not asked for.
        mixtures: by mixing layer, likewise.
    """

    generated: Tensor
    real: Tensor | None = None
    mixtures: tuple[Mixture, ...] = ()


def draw_layers(tasks: int, low: int, high: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Return a layer of low..high, uniform, for each of ``tasks`` tasks, in ascending order."""
    return tuple(int(layer) for layer in np.sort(rng.integers(low, high + 1, size=tasks)))


def draw_pairings(tasks: int, ways: int, rng: np.random.Generator) -> Integers:
    """Return `(tasks, ways)`: which class of the second task meets class r of the first, a random bijection each."""
    return rng.permuted(np.tile(np.arange(ways), (tasks, 1)), axis=1)


def draw_cycles(tasks: int, ways: int, rng: np.random.Generator) -> Integers:
    """Return `(tasks, ways)`: a partner class for each class, never itself: one random cycle through all of them each."""
    order = draw_pairings(tasks, ways, rng)
    cycles = np.empty_like(order)
    np.put_along_axis(cycles, order, np.roll(order, -1, axis=1), axis=1)
    return cycles


def task_partners(tasks: Tensor, pairing: Tensor, number: int) -> Tensor:
    """Return partners for a :class:`MixPlan`: example m of class r meets example m of class ``pairing[:, r]`` of another task.

    Args:
        tasks: `(B,)` the other task of each.
        pairing: `(B, N)`.
        number: M, examples a class.
    """
    classes = tasks[:, None] * pairing.shape[1] + pairing
    return classes[..., None] * number + torch.arange(number, device=pairing.device)


def mix(first: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """Mix two `(B, ...)` tensors by Eq. 3: ``weights`` of ``first``, the rest of ``other``; weights may lack the last axes."""
    weights = weights.view(*weights.shape, *[1] * (first.ndim - weights.ndim))
    return torch.lerp(other, first, weights.to(first.dtype))


def join(*parts: Tensor) -> Tensor:
    """Return one batch of tasks out of several `(b, N, M, *shape)`."""
    parts = tuple(part for part in parts if len(part))
    if len(parts) == 1:
        return parts[0]
    # Flat, because pictures keep their channels last in memory only where they have four dimensions.
    tasks = sum(len(part) for part in parts)
    return unflatten_tasks(torch.cat([flatten_tasks(part) for part in parts]), tasks, parts[0].shape[1])


def mix_tasks(
    learner: Learner,
    first: Tensor,
    second: Tensor | None,
    shots: int,
    plan: MixPlan,
    *,
    keep_real: bool = False,
    real_gradient: bool = True,
) -> MixedTasks:
    """Pass tasks through the shared layers and mix each at its own layer.

    Tasks that are mixed at the same layer pass together; those of different layers meet as :func:`encode_parts` has it.

    Args:
        learner: encodes examples under the meta-parameters.
        first: the tasks T_i at the input, `(B, N, M, *shape)`.
        second: the tasks T_j, their classes already in the order of the pairing; None with ``plan.partners``.
        shots: K.
        plan: layers, weights and partners.
        keep_real: also pass T_i and T_j themselves up to layer L_S (for the MMD); needs ``second``.
        real_gradient: whether those have a gradient; without it they pass the layers above their mixing layer without backward.
    """
    last = learner.last_shared

    def encode(parts: list[Tensor], start: int, stop: int) -> list[Tensor]:
        return encode_parts(learner, parts, shots, start, stop)

    def encode_real(parts: list[Tensor], start: int, stop: int) -> list[Tensor]:
        if real_gradient:
            return encode(parts, start, stop)
        with torch.no_grad():
            return encode([part.detach() for part in parts], start, stop)

    sizes = [number for layer in range(last + 1) if (number := plan.layers.count(layer))]
    firsts = list(first.split(sizes))
    seconds = [] if second is None else list(second.split(sizes))
    starts = np.cumsum([0, *sizes])
    generated, mixtures, reached = list[Tensor](), list[Mixture](), 0
    for group, layer in enumerate(sorted(set(plan.layers))):
        to_mix = 0 if second is None else group  # of partners in the same batch, all are needed to the end
        waiting = encode([*firsts[to_mix:], *seconds[to_mix:]], reached, layer)
        firsts[to_mix:], seconds[to_mix:] = waiting[: len(firsts) - to_mix], waiting[len(firsts) - to_mix :]
        if keep_real:
            mixed_before = encode_real([*firsts[:to_mix], *seconds[:to_mix]], reached, layer)
            firsts[:to_mix], seconds[:to_mix] = mixed_before[:to_mix], mixed_before[to_mix:]
        generated = encode(generated, reached, layer)
        reached = layer
        tasks = slice(starts[group], starts[group + 1])
        if second is None:
            assert plan.partners is not None
            other = join(*firsts).flatten(0, 2)[plan.partners[tasks]]
        else:
            other = seconds[group]
        generated.append(mix(firsts[group], other, plan.weights[tasks]))
        if keep_real:
            mixtures.append(Mixture(generated[-1], tuple(encode_real([*firsts, *seconds], layer, layer))))
    generated = encode(generated, reached, last)
    if not keep_real:
        return MixedTasks(join(*generated))
    assert second is not None
    return MixedTasks(join(*generated), join(*encode_real([*firsts, *seconds], reached, last)), tuple(mixtures))


def encode_parts(learner: Learner, parts: list[Tensor], shots: int, start: int, stop: int) -> list[Tensor]:
    """Pass several `(b, N, M, *shape)` from layer ``start`` to ``stop``.

    On a GPU in one go: there the number of kernels costs more than a copy. On CPUs each by itself: there it is the other way.
    """
    if start == stop or len(parts) < 2 or not wants_few_kernels(parts[0]):
        return [learner.encode(part, shots, start, stop) for part in parts]
    return list(learner.encode(join(*parts), shots, start, stop).split([len(part) for part in parts]))


def encode_changed(
    learner: Learner,
    examples: Tensor,
    shots: int,
    layers: tuple[int, ...],
    change: Callable[[Tensor, slice], Tensor],
) -> Tensor:
    """Pass tasks to layer L_S; each is changed at its own layer by itself.

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
        examples = join(examples[:done], changed, examples[until:])
        done, reached = until, layer
    return learner.encode(examples, shots, reached, learner.last_shared)
