"""In which precision a backbone computes: float32, or bf16 where the processor is made for it.

Under bf16 the convolutions and linear maps of shared layers run in bf16 (`torch.autocast`); blocks pass on bf16.
Weights, optimiser, batch statistics, inner loops, prototypes, distances, the MMD and losses are float32.
"""

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "bf16"]


def resolve(precision: Literal["auto", "float32", "bf16"], device: torch.device) -> Precision:
    """Return what ``auto`` stands for on ``device``: bf16 if its arithmetic units compute in it, else float32."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16_units(device) else "float32"


def has_bf16_units(device: torch.device) -> bool:
    """Return whether the arithmetic units of ``device`` compute in bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def slow_bf16(where: str) -> str:
    """Return what to say when somebody asks for bf16 ``where`` no unit computes in it."""
    return (
        f"`training.precision` is bf16, for which the processor of {where} has no units: steps take several times as long as "
        "in float32; leave it at auto, or set float32."
    )


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which a backbone computes in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def to_float32(values: Tensor) -> Tensor:
    """Return values as float32 if they are bf16, else as they are: for what leaves a backbone."""
    return values.float() if values.dtype == torch.bfloat16 else values
