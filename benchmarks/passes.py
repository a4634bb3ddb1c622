"""What do normalisation, pooling and ReLU of a step take, in two passes and as the library has them, without convolutions?

    python -m benchmarks.passes                  # half a minute; bf16, too, on any processor: these passes need no units for it

Both take turns on what the four blocks of conv4 make of 4 tasks of 80 pictures of 84 x 84, forward and backward.
"""

import os
import statistics
import time
from unittest import mock

import torch
from torch import Tensor

from datg.backbones.batch_norm import by_runs
from datg.backbones.conv4 import ConvBlock
from datg.runtime.allocator import keep_freed_memory
from datg.runtime.random_streams import generator

RUNS, FILTERS, SIDES = (80,) * 4, 32, (84, 42, 21, 10)
WARM_UP, ROUNDS = 2, 9


def main() -> None:
    """Print the medians of both, and their ratio by round."""
    torch.set_num_threads(os.cpu_count() or 1)
    keep_freed_memory()
    for dtype in (torch.float32, torch.bfloat16):
        blocks = [_block(side, dtype) for side in SIDES]
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(WARM_UP + ROUNDS):
            for two_passes, found in seconds.items():
                with mock.patch("datg.backbones.pooled_norm._numba", lambda answer=two_passes: answer):
                    found.append(sum(_seconds(*block) for block in blocks))
        ours, library = (1000 * statistics.median(seconds[key][WARM_UP:]) for key in (True, False))
        ratios = sorted(b / a for a, b in zip(seconds[True][WARM_UP:], seconds[False][WARM_UP:], strict=True))
        print(
            f"{dtype}: library {library:.0f} ms, two passes {ours:.0f} ms, {statistics.median(ratios):.2f} times as fast "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def _block(side: int, dtype: torch.dtype) -> tuple[ConvBlock, Tensor, Tensor]:
    """Return a block, what its convolution puts out, and a gradient by its output."""
    draws = generator(0, "passes", str(side))
    block = ConvBlock(FILTERS, FILTERS, running_statistics=False, generator=draws)
    shapes = [(sum(RUNS), FILTERS, length, length) for length in (side, side // 2)]
    inputs, gradient = (
        torch.randn(*shape, generator=draws).to(dtype).contiguous(memory_format=torch.channels_last) for shape in shapes
    )
    return block, inputs, gradient


def _seconds(block: ConvBlock, inputs: Tensor, gradient: Tensor) -> float:
    preactivations = inputs.clone().requires_grad_() * 1
    began = time.perf_counter()
    torch.autograd.grad(block.activate(preactivations, by_runs(*RUNS)), preactivations, gradient)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
