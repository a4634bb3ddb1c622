"""What is different on a GPU: memory that processes share, and kernels of which each costs its launch."""

import torch
from torch import Tensor


def wants_few_kernels(values: Tensor) -> bool:
    """Return whether ``values`` are where one large operation is better than several small ones, at the price of a copy."""
    return values.is_cuda


def buffer_bytes(device: torch.device, *, on_cpu: int) -> int:
    """Return how many bytes one buffer of an evaluation may take: on a GPU an eighth of what this process may use of it.

    Args:
        device: where the buffer is.
        on_cpu: the answer there.
    """
    if device.type != "cuda":
        return on_cpu
    total = torch.cuda.get_device_properties(device).total_memory
    return int(total * torch.cuda.get_per_process_memory_fraction(device)) // 8
