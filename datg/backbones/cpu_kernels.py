"""Loops over whole activations, for CPUs: each reads once what library calls read and write several times.

Pictures stand with their channels last, `(n, height, width, channels)`, in float32 or, as the bits of it in uint16, bf16;
arithmetic is float32, and what is added up over a picture float64. Every loop does the examples from ``start`` to ``stop``, so
that threads share the examples and nothing depends on their number. Numba compiles them where they are first called, once for
a kind of processor: it needs no compiler of the machine's own.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic, overload
from torch import Tensor

# Sums may be reordered and products added in one rounding; NaN and infinity stay what they are, so that a divergence shows.
FREEDOM = {"contract", "reassoc", "nsz"}
ZERO = np.float32(0)


def compiled(loop: Callable[..., None]) -> Callable[..., None]:
    """Return a loop compiled at its first call; on disk where there is a place for it (`NUMBA_CACHE_DIR`)."""
    options: dict[str, Any] = {"nogil": True, "fastmath": FREEDOM, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # neither the folder of this file nor the user's own may be written to
        return numba.njit(**options)(loop)


def over_examples(loop: Callable[..., None], number: int, *tensors: Tensor) -> None:
    """Run ``loop(start, stop, *arrays)`` over ``number`` examples, a share in each of torch's threads."""
    arrays = [_as_array(tensor) for tensor in tensors]
    threads = max(1, min(torch.get_num_threads(), number))
    edges = [number * share // threads for share in range(threads + 1)]
    others = [_begin(threads - 1, loop, *edges[i : i + 2], *arrays) for i in range(threads - 1)]
    _run(loop, *edges[-2:], *arrays)
    for other in others:
        if other is not None:
            other.result()


def _run(loop: Callable[..., None], *arguments: Any) -> None:
    try:
        loop(*arguments)
    except OSError:  # what was compiled found no room on the disk; in memory it is there
        loop(*arguments)


def _begin(threads: int, loop: Callable[..., None], *arguments: Any) -> Future[None] | None:
    """Run a share in another thread; in this one, and return None, where the interpreter begins no thread any more."""
    try:
        return _threads(threads).submit(_run, loop, *arguments)
    except RuntimeError:
        _run(loop, *arguments)
        return None


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, thread_name_prefix="datg-kernels")


def _as_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return the memory of a tensor, pictures `(n, height, width, channels)`."""
    bits = tensor.detach().view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor.detach()
    return (bits.permute(0, 2, 3, 1) if bits.ndim == 4 else bits).numpy()


def _from_bf16(context: Any, value: Any) -> Any:
    """Return the float32 whose upper half these 16 bits are; in 32 bits throughout, where numba would compute in 64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.zext(arguments[0], context.get_value_type(types.uint32))
        shifted = builder.shl(wide, context.get_constant(types.uint32, 16))
        return builder.bitcast(shifted, context.get_value_type(types.float32))

    return types.float32(types.uint16), generate


def _to_bf16(context: Any, value: Any) -> Any:
    """Return the upper half of a float32 rounded to the nearest, to even where two are as near; NaN stays NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def number(value: int) -> Any:
            return context.get_constant(types.uint32, value)

        bits = builder.bitcast(arguments[0], context.get_value_type(types.uint32))
        odd = builder.and_(builder.lshr(bits, number(16)), number(1))
        rounded = builder.lshr(builder.add(builder.add(bits, number(0x7FFF)), odd), number(16))
        is_nan = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        return builder.trunc(builder.select(is_nan, number(0x7FC0), rounded), context.get_value_type(types.uint16))

    return types.uint16(types.float32), generate


_widened: Any = intrinsic(_from_bf16)
_rounded: Any = intrinsic(_to_bf16)


def _read(value: Any) -> Any:
    """Return a value of an activation as float32."""


def _read_either(value: Any) -> Any:
    def widened(value: Any) -> Any:
        return _widened(value)

    def itself(value: Any) -> Any:
        return value

    return widened if value == types.uint16 else itself


def _write(value: Any, like: Any) -> Any:
    """Return a float32 as what ``like`` is."""


def _write_either(value: Any, like: Any) -> Any:
    def rounded(value: Any, like: Any) -> Any:
        return _rounded(np.float32(value))

    def itself(value: Any, like: Any) -> Any:
        return np.float32(value)

    return rounded if like == types.uint16 else itself


overload(_read)(_read_either)
overload(_write)(_write_either)


@compiled
def pool(start: int, stop: int, inputs: Any, signs: Any, pooled: Any, places: Any, mean: Any, variance: Any) -> None:
    """Pool pictures by twos and take the statistics of each.

    Args:
        start: the first example.
        stop: the one after the last.
        inputs: `(n, height, width, channels)`.
        signs: `(channels,)`, 1 where the largest of four values is kept, -1 where the smallest.
        pooled: `(n, height // 2, width // 2, channels)`, written.
        places: likewise uint8, written: which of the four it was, the first of equals.
        mean: `(n, channels)` float32, written.
        variance: likewise.
    """
    _, height, width, channels = inputs.shape
    near = np.empty(channels, np.float32)  # squares are taken around a value of the picture, so that nothing cancels
    row_sum, row_squares = np.empty(channels, np.float32), np.empty(channels, np.float32)
    total, squares = np.empty(channels, np.float64), np.empty(channels, np.float64)
    for n in range(start, stop):
        for c in range(channels):
            near[c] = _read(inputs[n, 0, 0, c])
        total[:], squares[:] = 0, 0
        for i in range(height):
            row_sum[:], row_squares[:] = 0, 0
            if i % 2 == 0 and i + 1 < height:
                for j in range(width // 2):
                    for c in range(channels):
                        a, b = _read(inputs[n, i, 2 * j, c]), _read(inputs[n, i, 2 * j + 1, c])
                        d, e = _read(inputs[n, i + 1, 2 * j, c]), _read(inputs[n, i + 1, 2 * j + 1, c])
                        sign = signs[c]
                        best, place = a, np.uint8(0)
                        place = np.uint8(1) if sign * b > sign * best else place
                        best = b if sign * b > sign * best else best
                        place = np.uint8(2) if sign * d > sign * best else place
                        best = d if sign * d > sign * best else best
                        place = np.uint8(3) if sign * e > sign * best else place
                        best = e if sign * e > sign * best else best
                        pooled[n, i // 2, j, c] = _write(best, pooled[n, i // 2, j, c])
                        places[n, i // 2, j, c] = place
                        a, b, d, e = a - near[c], b - near[c], d - near[c], e - near[c]
                        row_sum[c] += (a + b) + (d + e)
                        row_squares[c] += (a * a + b * b) + (d * d + e * e)
            # What has no partner to be pooled with counts in the statistics only.
            first = 0 if i + 1 == height and i % 2 == 0 else width // 2 * 2
            for j in range(first, width):
                for c in range(channels):
                    alone = _read(inputs[n, i, j, c]) - near[c]
                    row_sum[c] += alone
                    row_squares[c] += alone * alone
            for c in range(channels):
                total[c] += row_sum[c]
                squares[c] += row_squares[c]
        for c in range(channels):
            offset = total[c] / (height * width)
            mean[n, c] = near[c] + offset
            variance[n, c] = max(squares[c] / (height * width) - offset * offset, 0.0)


@compiled
def rectify(start: int, stop: int, pooled: Any, rows: Any, owner: Any, scale: Any, shift: Any, out: Any) -> None:
    """Write max(scale * pooled + shift, 0), with scale and shift of the run that an example belongs to.

    Args:
        start: the first example.
        stop: the one after the last.
        pooled: `(m, height, width, channels)`.
        rows: `(n,)` which of them each example is.
        owner: `(n,)` the run of each.
        scale: `(runs, channels)` float32.
        shift: likewise.
        out: `(n, height, width, channels)`, written.
    """
    _, height, width, channels = out.shape
    for n in range(start, stop):
        a, b = scale[owner[n]], shift[owner[n]]
        for i in range(height):
            for j in range(width):
                values, written = pooled[rows[n], i, j], out[n, i, j]
                for c in range(channels):
                    value = _read(values[c]) * a[c] + b[c]
                    written[c] = _write(ZERO if value <= 0 else value, written[c])


@compiled
def add_up_gradients(
    start: int, stop: int, gradient: Any, out: Any, pooled: Any, owner: Any, mean: Any, plain: Any, centred: Any
) -> None:
    """Add up, over each picture, the gradient where the output is above 0, and its product with what the mean is taken off.

    Args:
        start: the first example.
        stop: the one after the last.
        gradient: of the loss by the output, `(n, height, width, channels)`.
        out: the output.
        pooled: what it was before it was normalised.
        owner: `(n,)` the run of each example.
        mean: `(runs, channels)` float32.
        plain: `(n, channels)` float32, written: the sum of gradients.
        centred: likewise: the sum of gradient * (pooled - mean).
    """
    _, height, width, channels = gradient.shape
    row, row_centred = np.empty(channels, np.float32), np.empty(channels, np.float32)
    total, total_centred = np.empty(channels, np.float64), np.empty(channels, np.float64)
    for n in range(start, stop):
        middle = mean[owner[n]]
        total[:], total_centred[:] = 0, 0
        for i in range(height):
            row[:], row_centred[:] = 0, 0
            for j in range(width):
                gradients, outs, values = gradient[n, i, j], out[n, i, j], pooled[n, i, j]
                for c in range(channels):
                    value, written = _read(gradients[c]), _read(outs[c])
                    passed = value if written > 0 else ZERO
                    row[c] += passed
                    row_centred[c] += passed * (_read(values[c]) - middle[c])
            for c in range(channels):
                total[c] += row[c]
                total_centred[c] += row_centred[c]
        for c in range(channels):
            plain[n, c] = total[c]
            centred[n, c] = total_centred[c]


@compiled
def turn_into_gradient(
    start: int,
    stop: int,
    inputs: Any,
    gradient: Any,
    out: Any,
    places: Any,
    owner: Any,
    slope: Any,
    level: Any,
    scale: Any,
) -> None:
    """Write, over ``inputs`` x, slope * x + level, and add scale * gradient where a value was pooled and the output is above 0.

    Args:
        start: the first example.
        stop: the one after the last.
        inputs: `(n, height, width, channels)`, written over.
        gradient: of the loss by the output, `(n, height // 2, width // 2, channels)`.
        out: the output.
        places: as :func:`pool` wrote them.
        owner: `(n,)` the run of each example.
        slope: `(runs, channels)` float32.
        level: likewise.
        scale: likewise.
    """
    _, height, width, channels = inputs.shape
    passed = np.empty(channels, np.float32)
    for n in range(start, stop):
        a, b, factor = slope[owner[n]], level[owner[n]], scale[owner[n]]
        for i in range(height // 2):
            for j in range(width // 2):
                gradients, outs, place = gradient[n, i, j], out[n, i, j], places[n, i, j]
                for c in range(channels):
                    value, written = factor[c] * _read(gradients[c]), _read(outs[c])
                    passed[c] = value if written > 0 else ZERO
                for k in range(4):
                    values = inputs[n, 2 * i + k // 2, 2 * j + k % 2]
                    for c in range(channels):
                        value = _read(values[c]) * a[c] + b[c] + (passed[c] if place[c] == k else ZERO)
                        values[c] = _write(value, values[c])
        for i in range(height):
            first = 0 if i == height // 2 * 2 else width // 2 * 2
            for j in range(first, width):
                values = inputs[n, i, j]
                for c in range(channels):
                    values[c] = _write(_read(values[c]) * a[c] + b[c], values[c])
