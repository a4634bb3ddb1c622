"""Batch normalisation of many tasks, each by its own statistics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from datg.runtime.gpu import wants_few_kernels


@dataclass(frozen=True)
class NormMode:
    """Say how a block normalises a set of examples.

    Attributes:
        kind: ``running`` for running statistics; ``runs`` for the batch statistics of each of several consecutive runs of
            examples; ``whole`` for those of all examples, written out so that it can be differentiated twice under vmap.
        runs: lengths of the runs.
    """

    kind: Literal["running", "runs", "whole"]
    runs: tuple[int, ...] = ()


RUNNING, WHOLE = NormMode("running"), NormMode("whole")


def by_runs(*lengths: int) -> NormMode:
    """Normalise each of consecutive runs of examples, of these lengths, by its own batch statistics."""
    return NormMode("runs", lengths)


BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
Then = Callable[[Tensor], Tensor]
AtOnce = Callable[[Tensor, Tensor, Tensor, float, int, tuple[int, ...], Then], Tensor]


def batch_norm(inputs: Tensor, norm: BatchNorm, mode: NormMode, then: Then, *, compiled: bool = False) -> Tensor:
    """Normalise `(n, channels, ...)` by ``mode`` and apply ``then``, which treats examples one by one, to what comes out.

    (Pictures on CPUs go another way: :mod:`datg.backbones.pooled_norm`.) Of what the library offers for CPUs, the loop over
    normalisation batches, and over nothing else, is 1.4 to 1.8 times as fast as the one-call forms (one
    `batch_norm` over tasks * channels, `group_norm` on a view, `var_mean` by hand), which lose channels-last memory or cache
    locality. On a GPU its many small kernels would be what costs: there, and where it is ``compiled``, several runs are
    normalised together. Running statistics, where the layer keeps them, are used and never moved here: see
    :mod:`datg.learners.running_statistics`.
    """
    if mode == WHOLE:
        return then(_plain_batch_norm(inputs, norm))
    if mode == RUNNING:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None, "this layer keeps no running statistics"
        return then(functional.batch_norm(inputs, mean, variance, norm.weight, norm.bias, eps=norm.eps))
    if len(mode.runs) > 1 and (wants_few_kernels(inputs) or compiled):
        at_once = _compiled() if compiled else _at_once
        return at_once(inputs, norm.weight, norm.bias, norm.eps, *_tasks_of(mode.runs), then)
    parts = [
        then(functional.batch_norm(run, None, None, norm.weight, norm.bias, training=True, eps=norm.eps))
        for run in inputs.split(mode.runs)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _tasks_of(runs: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return how many tasks there are, and the lengths of the runs of each: they repeat from task to task."""
    period = next(p for p in range(1, len(runs) + 1) if runs == runs[:p] * (len(runs) // p))
    return len(runs) // period, runs[:period]


def _at_once(
    inputs: Tensor, weight: Tensor, bias: Tensor, eps: float, tasks: int, lengths: tuple[int, ...], then: Then
) -> Tensor:
    """Normalise all runs of `(n, channels, ...)` in a few kernels: those of one place in a task together."""
    parts = inputs.unflatten(0, (tasks, -1)).split(lengths, dim=1)
    done = [then(_normalise(part, weight, bias, eps).flatten(0, 1)).unflatten(0, (tasks, -1)) for part in parts]
    return (done[0] if len(done) == 1 else torch.cat(done, dim=1)).flatten(0, 1)


def _normalise(part: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return normalised `(tasks, m, channels, ...)`; means and variances of its tasks are taken in at least float32."""
    dimensions, shape = [1, *range(3, part.ndim)], (-1, *[1] * (part.ndim - 3))
    exact = part.to(torch.promote_types(part.dtype, torch.float32))
    variance, mean = torch.var_mean(exact, dimensions, correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps) * weight.view(shape)
    return torch.addcmul(bias.view(shape) - mean * scale, part, scale).to(part.dtype)


@cache
def _compiled() -> AtOnce:
    """:func:`_at_once` in kernels that read what the layer below wrote twice: for the statistics, and for the rest.

    One task and many, support sets and whole tasks, with gradients and without: more variants than are compiled by default.
    """
    from torch.compiler import config  # a second of imports

    config.recompile_limit = max(64, config.recompile_limit)
    return torch.compile(_at_once, dynamic=True)


def _plain_batch_norm(inputs: Tensor, norm: BatchNorm) -> Tensor:
    """Normalise `(n, channels, ...)` as one batch, written out for MAML's inner loop.

    The library's function has a wrong second derivative under `torch.func.vmap` (torch 2.13: values and first derivatives
    are right, tests/learners/test_maml.py shows the rest).
    """
    dimensions = [0, *range(2, inputs.ndim)]
    centred = inputs - inputs.mean(dimensions, keepdim=True)  # `var_mean` is slower by half on CPUs
    variance = centred.square().mean(dimensions, keepdim=True)
    shape = (-1, *[1] * (inputs.ndim - 2))
    scale = torch.rsqrt(variance + norm.eps) * norm.weight.view(shape)
    return centred * scale + norm.bias.view(shape)
