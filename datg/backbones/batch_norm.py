"""Batch normalisation of many tasks, each by its own statistics."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

# How a block normalises: by the batch statistics of consecutive runs of examples, given by their lengths, or (None) by the
# running statistics. ALONE is one run of all examples, written out so that it can be differentiated twice under vmap.
Runs = tuple[int, ...] | None
ALONE: Runs = ()

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
Normalise = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]]


def batch_norm(inputs: Tensor, norm: BatchNorm, runs: Runs, *, compiled: bool = False) -> list[Tensor]:
    """Batch normalisation of each run alone, as a list of runs `(m, channels, ...)`, or of one tensor that holds them all.

    On CPUs the loop over normalisation batches, and over nothing else, is 1.4 to 1.8 times as fast as the one-call forms (one
    `batch_norm` over tasks * channels, `group_norm` on a view, `var_mean` by hand), which lose channels-last memory or cache
    locality. On a GPU its many small kernels would be what costs: there, and where it is ``compiled``, several runs are
    normalised together. Running statistics, where the layer keeps them, are updated run by run.
    """
    if runs == ALONE:
        return [_plain_batch_norm(inputs, norm)]
    if runs is None:
        mean, variance, training = norm.running_mean, norm.running_var, False
        assert mean is not None, "this layer keeps no running statistics"
        runs = (len(inputs),)
    else:
        training = True
        update = norm.training and norm.track_running_stats
        mean, variance = (norm.running_mean, norm.running_var) if update else (None, None)
    if training and len(runs) > 1 and (inputs.is_cuda or compiled):
        return [_batch_norm_at_once(inputs, norm, runs, _compiled() if compiled else _normalise)]
    momentum = norm.momentum if norm.momentum is not None else 0.1
    return [
        functional.batch_norm(run, mean, variance, norm.weight, norm.bias, training, momentum, norm.eps)
        for run in inputs.split(runs)
    ]


def _batch_norm_at_once(inputs: Tensor, norm: BatchNorm, runs: tuple[int, ...], normalise: Normalise) -> Tensor:
    """Batch normalisation of all runs together, in a few kernels whatever their number.

    Runs repeat from task to task: those with the same place in a task are equally long and are normalised as one tensor.
    """
    period = next(p for p in range(1, len(runs) + 1) if runs == runs[:p] * (len(runs) // p))
    tasks = len(runs) // period
    normalised, means, variances = [], [], []
    for part in inputs.unflatten(0, (tasks, -1)).split(runs[:period], dim=1):
        found, mean, variance = normalise(part, norm.weight, norm.bias, norm.eps)
        normalised.append(found)
        count = part[0, :, 0].numel()
        means.append(mean.detach().view(tasks, -1))
        variances.append(variance.detach().view(tasks, -1) * (count / max(1, count - 1)))
    if norm.training and norm.track_running_stats:
        _move(norm.running_mean, torch.stack(means, 1).flatten(0, 1), norm)
        _move(norm.running_var, torch.stack(variances, 1).flatten(0, 1), norm)
    return (normalised[0] if period == 1 else torch.cat(normalised, dim=1)).flatten(0, 1)


def _normalise(part: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised `(tasks, m, channels, ...)`, with means and variances of its tasks in at least float32."""
    dimensions, shape = [1, *range(3, part.ndim)], (-1, *[1] * (part.ndim - 3))
    mean = part.mean(dimensions, keepdim=True, dtype=torch.promote_types(part.dtype, torch.float32))
    centred = part - mean
    variance = centred.square().mean(dimensions, keepdim=True)
    scale = torch.rsqrt(variance + eps) * weight.view(shape)
    return (centred * scale + bias.view(shape)).to(part.dtype), mean, variance


@cache
def _compiled() -> Normalise:
    """:func:`_normalise` as one kernel for the statistics and one for the rest, for any number of tasks and examples.

    One task and many, support sets and whole tasks, with gradients and without: more variants than are compiled by default.
    """
    from torch._dynamo import config  # a second of imports

    config.recompile_limit = max(32, config.recompile_limit)
    return torch.compile(_normalise, dynamic=True)


def _move(running: Tensor | None, found: Tensor, norm: BatchNorm) -> None:
    """Moves a running statistic by the `(runs, channels)` ones of runs, one after the other."""
    assert running is not None and norm.momentum is not None
    keep = 1 - norm.momentum
    ages = torch.arange(len(found) - 1, -1, -1, device=found.device)
    # `data`: the library's form keeps them for its way back, though it does not look at them, and must not find them changed.
    running.data.mul_(keep ** len(found)).add_((norm.momentum * keep**ages).to(found.dtype) @ found)


def _plain_batch_norm(inputs: Tensor, norm: BatchNorm) -> Tensor:
    """Batch normalisation written out, for MAML's inner loop.

    The library's function has a wrong second derivative under `torch.func.vmap` (torch 2.13: values and first derivatives
    are right, tests/learners/test_maml.py shows the rest).
    """
    dimensions = [0, *range(2, inputs.ndim)]
    centred = inputs - inputs.mean(dimensions, keepdim=True)  # `var_mean` is slower by half on CPUs
    variance = centred.square().mean(dimensions, keepdim=True)
    shape = (-1, *[1] * (inputs.ndim - 2))
    scale = torch.rsqrt(variance + norm.eps) * norm.weight.view(shape)
    return centred * scale + norm.bias.view(shape)
