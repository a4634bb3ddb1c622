"""Pickled arrays without running the pickle's code: an allow-list unpickler in a process of its own.

A pickle is a program that may call anything. The child process may call nothing but stand-ins for what rebuilds numpy arrays and
their dtypes; any other name is refused before it is called. Memory and time are limited. What it reads goes to ``.npy`` files and
a JSON, so that nothing but numbers and text comes back.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from datg.data.importing.arrays import open_array
from datg.data.importing.untrusted import restricted_unpickler
from datg.data.importing.untrusted.restricted_unpickler import BROKEN, REFUSED, STRUCTURE
from datg.data.raw_data import Workplace
from datg.errors import DataError

SPARE_BYTES = 1 << 30  # interpreter and numpy, address space included
MEMORY_FACTOR = 4  # a pickle of text-encoded arrays is held as text, as bytes and as an array
DISK_FACTOR = 2  # arrays of numbers cannot be larger than the file that holds them, but text may be
SECONDS, BYTES_A_SECOND = 60, 5 << 20  # at most 60 s and another for each 5 MiB


def read_pickle(path: Path, folder: Path) -> Any:
    """Return what is pickled in ``path``: arrays (mapped from ``folder``), dicts, lists, texts and whole numbers.

    Raises:
        DataError: it is no pickle, is truncated, wants anything else, or needs more memory or time than its size explains.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    folder.mkdir(parents=True)
    program = str(Path(restricted_unpickler.__file__).absolute())
    limits = [str(MEMORY_FACTOR * size + SPARE_BYTES), str(DISK_FACTOR * size)]
    command = [sys.executable, "-P", program, str(path.absolute()), str(folder.absolute()), *limits]
    # One thread: each of a BLAS library's threads would count against the address space.
    quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    seconds = SECONDS + size / BYTES_A_SECOND
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=quiet)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path} was not read within {seconds:.0f} s, the limit for its size; try once more.") from None
    if child.returncode in (REFUSED, BROKEN):
        raise DataError(f"{path} {child.stdout.strip()}.")
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [f"it was ended by signal {-child.returncode}"])[-1]
        if "No space left" in last or "requested and" in last:  # numpy's words for a short write
            raise DataError(
                f"{folder} has no room for the arrays of {path.name}; free space or choose another --data-root."
            )
        raise DataError(f"{path} could not be read: {last}.")
    structure = json.loads((folder / STRUCTURE).read_text(encoding="utf-8"))
    return _decode(structure, folder)


def _memory_needed(paths: list[Path]) -> str:
    """Return a sentence to be said before reading."""
    largest = max((path.stat().st_size for path in paths if path.exists()), default=0)
    return (
        f"{len(paths)} pickles have to be read whole: up to {(MEMORY_FACTOR * largest + SPARE_BYTES) / 1e9:.1f} GB of memory and "
        f"{sum(path.stat().st_size for path in paths if path.exists()) / 1e9:.1f} GB of the disk for a while."
    )


def _decode(node: Any, folder: Path) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "array":
        return open_array(folder / f"{content}.npy")
    if kind == "list":
        return [_decode(item, folder) for item in content]
    return {_decode(key, folder): _decode(value, folder) for key, value in content}


def read_pickles(paths: list[Path], work: Workplace) -> tuple[dict[Path, Any], list[str]]:
    """Return what is in each of several pickles, and what is wrong with those that cannot be read; first say what that needs."""
    work.notify(_memory_needed(paths))
    contents, problems = {}, []
    for index, path in enumerate(paths):
        try:
            contents[path] = read_pickle(path, work.folder / path.stem)
        except DataError as error:
            problems.append(str(error).rstrip("."))
        work.progress("unpickling", index + 1, len(paths))
    return contents, problems
