"""Batch normalisation of many tasks, each by its own statistics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


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
Normalise = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def batch_norm(inputs: Tensor, norm: BatchNorm, mode: NormMode, *, compiled: bool = False) -> list[Tensor]:
    """Normalise `(n, channels, ...)` by ``mode``: a list of runs `(m, channels, ...)`, or of one tensor that holds them all.

    On CPUs the loop over normalisation batches, and over nothing else, is 1.4 to 1.8 times as fast as the one-call forms (one
    `batch_norm` over tasks * channels, `group_norm` on a view, `var_mean` by hand), which lose channels-last memory or cache
    locality. On a GPU its many small kernels would be what costs: there, and where it is ``compiled``, several runs are
    normalised together. Running statistics, where the layer keeps them, are used and never moved here: see
    :mod:`datg.learners.running_statistics`.
    """
    if mode == WHOLE:
        return [_plain_batch_norm(inputs, norm)]
    if mode == RUNNING:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None, "this layer keeps no running statistics"
        return [functional.batch_norm(inputs, mean, variance, norm.weight, norm.bias, eps=norm.eps)]
    if len(mode.runs) > 1 and (inputs.is_cuda or compiled):
        return [_batch_norm_at_once(inputs, norm, mode.runs, _compiled() if compiled else _normalise)]
    return [
        functional.batch_norm(run, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        for run in inputs.split(mode.runs)
    ]


def _batch_norm_at_once(inputs: Tensor, norm: BatchNorm, runs: tuple[int, ...], normalise: Normalise) -> Tensor:
    """Normalise all runs of `(n, channels, ...)` together, in a few kernels whatever their number.

    Runs repeat from task to task: those with the same place in a task are equally long and are normalised as one tensor.
    """
    period = next(p for p in range(1, len(runs) + 1) if runs == runs[:p] * (len(runs) // p))
    tasks = len(runs) // period
    parts = inputs.unflatten(0, (tasks, -1)).split(runs[:period], dim=1)
    normalised = [normalise(part, norm.weight, norm.bias, norm.eps) for part in parts]
    return (normalised[0] if period == 1 else torch.cat(normalised, dim=1)).flatten(0, 1)


def _normalise(part: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return normalised `(tasks, m, channels, ...)`; means and variances of its tasks are taken in at least float32."""
    dimensions, shape = [1, *range(3, part.ndim)], (-1, *[1] * (part.ndim - 3))
    mean = part.mean(dimensions, keepdim=True, dtype=torch.promote_types(part.dtype, torch.float32))
    centred = part - mean
    variance = centred.square().mean(dimensions, keepdim=True)
    scale = torch.rsqrt(variance + eps) * weight.view(shape)
    return (centred * scale + bias.view(shape)).to(part.dtype)


@cache
def _compiled() -> Normalise:
    """:func:`_normalise` as one kernel for the statistics and one for the rest, for any number of tasks and examples.

    One task and many, support sets and whole tasks, with gradients and without: more variants than are compiled by default.
    """
    from torch.compiler import config  # a second of imports

    config.recompile_limit = max(32, config.recompile_limit)
    return torch.compile(_normalise, dynamic=True)


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
