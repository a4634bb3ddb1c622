"""What a node tells of itself. Ray ships this function to nodes that may lack this package, so the module needs Python alone."""

import os
import socket
import time
from pathlib import Path
from typing import Any


def look_around(token: str, beside: str) -> dict[str, Any]:
    """Return what the process finds on its node.

    Args:
        token: path of a file that the driver has just written.
        beside: path of a file to write.

    Returns:
        ``host``; ``versions`` of this package and torch, and ``bf16``, whether its CPU has units for it, or ``import`` with the
        error; ``sees``: whether the token is there; ``write``: the error of writing beside it, empty if it could; ``gpus`` that
        torch finds; ``shm``: free bytes of shared memory; ``clock``: seconds since 1970.
    """
    found: dict[str, Any] = {"host": socket.gethostname(), "sees": Path(token).exists(), "write": ""}
    try:
        if found["sees"]:  # else nobody is there to remove it: it is another folder, or the driver no longer waits
            Path(beside).write_text(found["host"], encoding="utf-8")
    except OSError as error:
        found["write"] = error.strerror or str(error)
    memory = os.statvfs("/dev/shm")  # noqa: S108 - nothing is written
    found["shm"] = memory.f_bavail * memory.f_frsize
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides GPUs from a task that asks for none
    try:
        import torch

        from datg.runtime.precision import has_bf16_units
        from datg.search.versions import versions

        found["versions"] = versions()
        found["bf16"] = has_bf16_units(torch.device("cpu"))
        found["gpus"] = torch.cuda.device_count()
    except Exception as error:  # whatever a broken installation raises
        found["import"] = f"{type(error).__name__}: {error}"
    found["clock"] = time.time()
    return found
