"""What a benchmark ran on: the processor, and the precisions that it is made for."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from datg.runtime.precision import resolve

CPU = torch.device("cpu")
MATRIX_RATE = (
    "matrix product, 10^9 multiply-adds a second"  # what a file of results calls what bounds arithmetic, by precision
)


def precisions() -> list[str]:
    """Return the precisions that this machine's processor is made for."""
    return ["float32"] if resolve("auto", CPU) == "float32" else ["float32", "bf16"]


def kind() -> str:
    """Return what kind of processor this is, as files of results are called: `avx2-float32`, `avx512-bf16`."""
    return f"{torch.backends.cpu.get_cpu_capability().lower()}-{precisions()[-1]}"


def describe(threads: int) -> dict[str, Any]:
    """Return what a file of results says of the machine and of this package."""
    return {
        "processor": model(),
        "vector units": torch.backends.cpu.get_cpu_capability(),
        "bf16 units": precisions()[-1] == "bf16",
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "version": version(),
    }


def model() -> str:
    """Return the name of the processor, as Linux tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version() -> str:
    """Return the commit that is measured, with `+` where files differ from it; empty outside a repository."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
