"""Batch normalisation, 2 x 2 max-pooling and ReLU as one function, in two passes over what a convolution wrote; for CPUs.

The three commute: with y = scale * x + shift in each channel, max and ReLU of y are those of the largest x of four where the
scale is positive, and of the smallest where it is negative. So one pass takes the statistics and pools, and everything after
it happens at the pooled size. With g the gradient that reaches the pooled values, m examples times pixels of a run, and
x^ = (x - mean) * rstd, the gradient by x is

    dx = scale * (g where x was pooled - sum(g) / m - x^ * sum(g x^) / m),

one pass, written over x, which nothing else keeps. It is differentiated once: what an inner loop adapts is normalised as
:data:`~datg.backbones.batch_norm.WHOLE`.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from datg.backbones.backbone import PreNormActivations, owners, scale_and_shift
from datg.backbones.batch_norm import BatchNorm


def suits(preactivations: Tensor) -> bool:
    """Return whether these can be normalised here: float32 or bf16 in a CPU's memory, and numba compiles."""
    return preactivations.is_cpu and preactivations.dtype in (torch.float32, torch.bfloat16) and _numba()


@cache
def _numba() -> bool:
    try:
        import numba
    except ImportError:  # it is missing, or refuses this version of numpy
        return False
    return not numba.config.DISABLE_JIT


def pooled_norm(
    preactivations: Tensor, norm: BatchNorm, runs: tuple[int, ...], *, added: Tensor | None = None
) -> Tensor:
    """Return `(n, channels, height // 2, width // 2)`, each run normalised by its own batch statistics.

    Args:
        preactivations: `(n, channels, height, width)`, channels last; a backward pass writes its gradient over it, and what
            else autograd has kept it for then raises. No leaf of the graph is written over.
        norm: weight, bias and eps.
        runs: lengths that add up to n.
        added: `(channels,)` that the convolution added, which the mean takes away again: its gradient is 0, without a pass
            that adds up nothing but rounding.
    """
    if preactivations.is_leaf:
        preactivations = preactivations.clone()
    result: Tensor = _PooledNorm.apply(preactivations, norm.weight, norm.bias, added, norm.eps, runs)
    return result


def pool(preactivations: Tensor, weight: Tensor) -> tuple[PreNormActivations, Tensor]:
    """Return pooled `(n, channels, height, width)` pictures with the statistics of each, and uint8 places of what was pooled."""
    from datg.backbones import cpu_kernels

    pictures = preactivations.detach().contiguous(memory_format=torch.channels_last)
    number, channels, height, width = pictures.shape
    pooled = _empty_pictures(pictures.dtype, number, channels, height // 2, width // 2)
    places = _empty_pictures(torch.uint8, *pooled.shape)
    mean, variance = torch.empty(number, channels), torch.empty(number, channels)
    signs = torch.where(weight.detach() < 0, -1.0, 1.0)
    cpu_kernels.over_examples(cpu_kernels.pool, number, pictures, signs, pooled, places, mean, variance)
    return PreNormActivations(pooled, mean, variance), places


def rectify(pooled: Tensor, rows: Tensor, owner: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return `(n, channels, height, width)`: max(scale * pooled[rows] + shift, 0), each example by its run.

    Args:
        pooled: `(m, channels, height, width)`, channels last.
        rows: `(n,)` int64.
        owner: likewise, the run of each.
        scale: `(runs, channels)` float32.
        shift: likewise.
    """
    from datg.backbones import cpu_kernels

    out = _empty_pictures(pooled.dtype, len(rows), *pooled.shape[1:])
    cpu_kernels.over_examples(cpu_kernels.rectify, len(rows), pooled, rows, owner, scale, shift, out)
    return out


def _empty_pictures(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


class _PooledNorm(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(
        ctx: Any,
        preactivations: Tensor,
        weight: Tensor,
        bias: Tensor,
        added: Tensor | None,
        eps: float,
        runs: tuple[int, ...],
    ) -> Tensor:
        """Return the output; keep the pre-activations, to be written over."""
        pooled, places = pool(preactivations, weight)
        mean, variance = pooled.statistics(runs)
        scale, shift = scale_and_shift(weight, bias, eps, mean, variance)
        owner = torch.from_numpy(owners(runs))
        out = rectify(pooled.values, torch.arange(len(owner)), owner, scale, shift)
        ctx.save_for_backward(
            preactivations, pooled.values, places, out, mean, torch.rsqrt(variance + eps), scale, owner
        )
        ctx.runs, ctx.written_over = runs, False
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients by pre-activations, weight, bias and what was added before."""
        from datg.backbones import cpu_kernels

        if ctx.written_over or torch.is_grad_enabled():
            raise RuntimeError(
                "a shared block is differentiated once, and only once: its backward pass writes over what it kept and has no "
                "gradient itself."
            )
        ctx.written_over = True
        preactivations, pooled, places, out, mean, rstd, scale, owner = ctx.saved_tensors
        gradient = gradient.to(out.dtype).contiguous(memory_format=torch.channels_last)
        number, channels, height, width = preactivations.shape
        plain, centred = torch.empty(number, channels), torch.empty(number, channels)
        over = cpu_kernels.over_examples
        over(cpu_kernels.add_up_gradients, number, gradient, out, pooled, owner, mean, plain, centred)
        of_bias = torch.stack([part.sum(0) for part in plain.split(ctx.runs)])
        of_weight = torch.stack([part.sum(0) for part in centred.split(ctx.runs)]) * rstd
        of_added = torch.zeros(channels) if ctx.needs_input_grad[3] else None
        if not ctx.needs_input_grad[0]:
            return None, of_weight.sum(0), of_bias.sum(0), of_added, None, None
        pixels = torch.tensor(ctx.runs)[:, None] * height * width
        slope = -scale * rstd * of_weight / pixels
        level = -scale * of_bias / pixels - slope * mean
        torch.autograd.graph.increment_version(preactivations)
        turned = preactivations.contiguous(memory_format=torch.channels_last)
        over(cpu_kernels.turn_into_gradient, number, turned, gradient, out, places, owner, slope, level, scale)
        return turned, of_weight.sum(0), of_bias.sum(0), of_added, None, None
