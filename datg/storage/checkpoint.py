"""Checkpoints: safetensors files whose header carries a JSON, replaced in one step."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from datg.errors import StateError
from datg.storage.files import replacing

_KEY = "datg"


def save_checkpoint(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write ``tensors`` and the JSON-able ``info`` to ``path``, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata={_KEY: json.dumps(info)})


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote, onto the CPU.

    Raises:
        StateError: the file is missing, damaged or of another kind.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        info = json.loads((file.metadata() or {})[_KEY])
        return {name: file.get_tensor(name) for name in file.keys()}, info  # noqa: SIM118 - no mapping


def check_checkpoint(path: Path) -> None:
    """Read the header, whose lengths must agree with the file's.

    Raises:
        StateError: as :func:`load_checkpoint`.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        json.loads((file.metadata() or {})[_KEY])


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StateError(f"{path} does not exist; give a checkpoint that a trial or datg train wrote.") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # safetensors leaves the name out
    except (SafetensorError, KeyError, ValueError) as error:
        raise StateError(f"{path} is no checkpoint of this package or is damaged ({error}).") from error


def strip_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix`` and a dot, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def add_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the opposite of :func:`strip_prefix`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}
