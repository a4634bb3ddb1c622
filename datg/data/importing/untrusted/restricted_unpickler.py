"""The child process of ``unpickling.py``: a program of its own that imports numpy and nothing else.

    python restricted_unpickler.py FILE FOLDER MEMORY_LIMIT DISK_LIMIT

It writes arrays as ``.npy`` files and the rest as JSON into FOLDER. What a pickle can reach are stand-ins that hold no state and
cannot be given any. Exit codes: 0; REFUSED and BROKEN with the reason on standard output.
"""

import io
import json
import pickle
import re
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

STRUCTURE = "structure.json"
REFUSED, BROKEN = 3, 4
FIRST_BYTES = 64
MOST_NODES, MOST_DEPTH = 5_000_000, 20  # of lists, dicts, texts and numbers
PLAIN_DTYPE = re.compile(r"[iuf][1248]|b1|[SU]\d+")
_NUMPY_HOMES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")

Array = npt.NDArray[Any]


class Refused(Exception):
    """Say that a pickle wanted something else than arrays, lists, texts and whole numbers."""


class _Writer:
    """Turns what was unpickled into a JSON structure, arrays into files."""

    def __init__(self, folder: Path, disk_limit: int) -> None:
        self._folder, self._room = folder, disk_limit
        self._saved: dict[int, tuple[Array, int]] = {}  # by identity; holding the array keeps its identity its own
        self._nodes = 0

    def encode(self, value: Any, depth: int = 0) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > MOST_DEPTH:
            raise Refused(f"holds more than {MOST_NODES:,} things, or lists in lists more than {MOST_DEPTH} deep")
        if isinstance(value, np.str_ | np.integer):
            value = value.item()
        if type(value) in (str, int):
            return value
        array = value.values if isinstance(value, _Array) else value
        if isinstance(array, np.ndarray):  # pickles of protocol 5 make them at once
            return {"array": self._save(array)}
        if type(value) is list:
            return {"list": [self.encode(item, depth + 1) for item in value]}
        if type(value) is dict:
            pairs = [[self._key(key), self.encode(item, depth + 1)] for key, item in value.items()]
            return {"dict": pairs}
        raise Refused(f"holds a {type(value).__name__}; allowed are arrays, dicts, lists, texts and whole numbers")

    def _key(self, key: Any) -> Any:
        if not isinstance(key, str | int | np.integer):
            raise Refused(f"holds a {type(key).__name__} as the key of a dict; keys must be texts or whole numbers")
        return self.encode(key)

    def _save(self, array: Array) -> int:
        if id(array) not in self._saved:
            self._room -= array.nbytes
            if self._room < 0:
                raise Refused("holds more bytes in arrays than in the file")
            number = len(self._saved)
            np.save(self._folder / f"{number}.npy", array, allow_pickle=False)
            self._saved[id(array)] = (array, number)
        return self._saved[id(array)][1]


class _Call:
    """A function that a pickle may call; nothing of it can be changed, so that it stays what it is."""

    __slots__ = ("_function",)
    _function: Any

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Refused("wants to change what rebuilds arrays")


class _Dtype:
    """Stands for a numpy dtype: a plain one whose state a pickle may set to a byte order and nothing else."""

    __slots__ = ("plain",)

    def __init__(self, code: Any, *flags: Any) -> None:
        if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
            raise Refused(
                f"holds an array of dtype {code!a}; arrays must be of plain numbers or texts, not of Python objects"
            )
        self.plain = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        _version, order, *details = state
        if order not in ("<", ">", "|", "=") or any(detail is not None for detail in details[:3]):
            raise Refused("holds an array of a dtype with fields")
        self.plain = self.plain.newbyteorder(order) if order in ("<", ">") else self.plain


class _Array:
    """Stands for an array: what numpy's ``__setstate__`` would do, but from bytes alone."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: Array | None = None

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, raw = state[-4:]
        self.values = _array(raw, dtype, shape, "F" if fortran else "C")


_ARRAY_CLASS = object()  # stands for numpy.ndarray where a pickle names it


def _array(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    """Return an array from its bytes; with ``axes`` they are of another shape, whose axes are to be put into that order."""
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes | bytearray) or type(dtype) is not _Dtype:
        raise Refused("holds an array of Python objects")
    flat = np.frombuffer(raw, dtype=dtype.plain)
    return flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """Return an empty array, whose state the pickle then sets."""
    if kind is not _ARRAY_CLASS:
        raise Refused("wants numpy to rebuild something else than an array")
    return _Array()


def _scalar(dtype: Any, raw: Any) -> Any:
    """Return one number or text."""
    return _array(raw, dtype, (), "C")[()]


def _bytes(*arguments: Any) -> bytes:
    """Return how pickles of protocol 2 hold no bytes at all."""
    if arguments:
        raise Refused("wants to make bytes in an unusual way")
    return b""


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Return how pickles of protocol 2 hold bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused(f"wants to encode text as {encoding!a}")
    return text.encode("latin1")


_ALLOWED_IN_NUMPY = {"_reconstruct": _Call(_reconstruct), "scalar": _Call(_scalar), "_frombuffer": _Call(_array)}
_ALLOWED_ELSEWHERE: dict[str, dict[str, Any]] = {
    "numpy": {"ndarray": _ARRAY_CLASS, "dtype": _Call(_Dtype)},
    "_codecs": {"encode": _Call(_encode)},
    "builtins": {"bytes": _Call(_bytes)},
    "__builtin__": {"bytes": _Call(_bytes)},
}


class _Unpickler(pickle.Unpickler):
    """Finds nothing but what rebuilds arrays."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED_IN_NUMPY if module in _NUMPY_HOMES else _ALLOWED_ELSEWHERE.get(module, {})
        if name not in allowed:
            wanted = ascii(f"{module}.{name}")[1:-1]
            raise Refused(f"wants to call {wanted}, which is refused: a pickle of data needs numpy arrays alone")
        return allowed[name]

    def persistent_load(self, identity: Any) -> Any:
        raise Refused("refers to objects outside the file")


def _unpickle(path: Path, folder: Path, disk_limit: int) -> None:
    with path.open("rb") as file:
        first = file.read(FIRST_BYTES)
        if not first:
            raise Refused("is empty")
        if first.lstrip().startswith(b"<"):
            raise Refused("is a web page, not a pickle; download it again")
        file.seek(0)
        value = _Unpickler(io.BufferedReader(file), encoding="latin1").load()
    structure = _Writer(folder, disk_limit).encode(value)
    (folder / STRUCTURE).write_text(json.dumps(structure), encoding="utf-8")


def main(path: Path, folder: Path, limit: int, disk_limit: int) -> int:
    """Unpickle ``path`` into ``folder`` with at most ``limit`` bytes of address space and ``disk_limit`` of arrays.

    Returns:
        The exit code.
    """
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _unpickle(path, folder, disk_limit)
    except Refused as reason:
        print(reason)
        return REFUSED
    except MemoryError:
        print(f"needs more than {limit / 1e9:.1f} GB of memory, more than arrays of its size can")
        return BROKEN
    except OSError:
        raise
    except Exception as error:  # a broken pickle may raise anything
        print(f"is no pickle, or is truncated or damaged ({type(error).__name__}: {ascii(str(error))[1:-1]})")
        return BROKEN
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
