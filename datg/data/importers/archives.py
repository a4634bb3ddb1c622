"""Unpacks zip and tar files that may be hostile: nothing outside the folder, no links, no bombs.

Members are copied as streams and their bytes counted, since what an archive says of its sizes may be a lie; of a tar every
decompressed byte is counted, headers included.
"""

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from datg.errors import DataError

MOST_ENTRIES = 2_000_000
MOST_BYTES = 200 << 30
MOST_RATIO = 100  # unpacked to packed; pictures and arrays of counts stay far below
RATIO_FROM = 64 << 20  # bytes below which no ratio is a danger
MOST_PARTS, LONGEST_PART, LONGEST_PATH = 32, 255, 1000  # of a member's path; in bytes
LONGEST_HEADER = 1 << 20  # bytes of a tar header that holds a long name
CHUNK = 1 << 20
SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")
PAX_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
USTAR_AT = 257

DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
# gzip and bz2 raise OSErrors without a number; a zip that lacks bytes seeks before its start.
DAMAGED_ERRNO = (None, errno.EINVAL)


class _LongHeader(Exception):
    """A header of a tar announces more than a name."""


@dataclass
class _Budget:
    """What an archive may still unpack, and where."""

    archive: Path
    packed: int
    entries: int = 0
    unpacked: int = 0
    files: set[PurePosixPath] = field(default_factory=set)
    folders: set[PurePosixPath] = field(default_factory=set)

    def enter(self, name: str, *, folder: bool, link: bool, special: bool) -> PurePosixPath:
        """Counts an entry and checks where it wants to go."""
        self.entries += 1
        path, shown = PurePosixPath(name.replace("\\", "/")), ascii(name)[1:-1][:100]
        if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0] or "\0" in name:
            self.refuse(f"{shown} would be written outside the folder")
        if link or special:
            self.refuse(f"{shown} is a {'link' if link else 'device or pipe'}")
        if self.entries > MOST_ENTRIES:
            self.refuse(f"it has more than {MOST_ENTRIES:,} entries")
        lengths = [len(part.encode(errors="replace")) for part in path.parts]
        if len(lengths) > MOST_PARTS or sum(lengths) > LONGEST_PATH or max(lengths, default=0) > LONGEST_PART:
            self.refuse(f"the path {shown} is too deep or too long")
        parents = set(path.parents) - {PurePosixPath(".")}
        clash = path in self.files or parents & self.files or (not folder and path in self.folders)
        if clash or (not folder and not path.parts):
            self.refuse(f"{shown} stands in it twice, or as a file and a folder")
        (self.folders if folder else self.files).add(path)
        self.folders |= parents
        return path

    def count(self, number: int) -> None:
        """Counts unpacked bytes."""
        self.unpacked += number
        if self.unpacked > MOST_BYTES:
            self.refuse(f"it unpacks to more than {MOST_BYTES >> 30} GiB")
        if self.unpacked > RATIO_FROM and self.unpacked > MOST_RATIO * self.packed:
            self.refuse(f"it unpacks to more than {MOST_RATIO} times its size")

    def refuse(self, reason: str) -> None:
        """Raises what the user reads."""
        raise DataError(
            f"{self.archive} is refused: {reason}; if you trust it unpack it yourself, or save an .npz uncompressed."
        )


class _Header(tarfile.TarInfo):
    """A header of a tar that may not announce a long body of its own, which tarfile would read whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        extended = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *PAX_TYPES)
        if header.type in extended and header.size > LONGEST_HEADER:
            raise _LongHeader(f"a header of {header.size:,} bytes holds more than a name")
        return header


class _Counted:
    """A decompressed stream that counts what is read from it."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._budget.count(len(data))
        return data


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a zip or tar file, or a file that calls itself one."""
    return path.is_file() and (path.name.lower().endswith(SUFFIXES) or zipfile.is_zipfile(path) or _is_tar(path))


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks ``archive`` into the new ``folder``; on any trouble the folder is removed.

    Returns:
        The folder, or the only folder in it, where archives wrap everything in one.

    Raises:
        DataError: it is no archive, is damaged or encrypted, or is refused.
    """
    folder.mkdir(parents=True)
    budget = _Budget(archive, archive.stat().st_size)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, budget)
        elif _is_tar(archive):
            try:
                _unpack_tar(archive, folder, budget)
            except _LongHeader as reason:
                budget.refuse(str(reason))
        else:
            raise DataError(f"{archive} is {_what_it_is(archive)}.")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DAMAGED) or (isinstance(error, OSError) and error.errno in DAMAGED_ERRNO):
            raise DataError(f"{archive} is damaged, truncated or encrypted ({error}); download it again.") from error
        raise
    return inner_folder(folder)


def inner_folder(folder: Path) -> Path:
    """``folder``, or the only folder in it, and so on; files whose names begin with a dot or ``__`` do not count."""
    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    return inner_folder(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        first = file.read(64)
    if first.lstrip().startswith(b"<"):
        return "a web page and no archive: the download went wrong"
    return "neither a zip nor a tar file, or it is truncated" if first else "empty"


def _unpack_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            link = stat.S_ISLNK(info.external_attr >> 16)
            path = budget.enter(info.filename, folder=info.is_dir(), link=link, special=False)
            if not info.is_dir():
                with file.open(info) as source:
                    _copy(source, folder / path, budget)


def _unpack_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    with _decompressed(archive) as stream:
        counted: Any = _Counted(stream, budget)
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Header) as file:
            for info in file:
                link, special = info.issym() or info.islnk(), not (info.isreg() or info.isdir())
                path = budget.enter(info.name, folder=info.isdir(), link=link, special=special)
                source = None if info.isdir() else file.extractfile(info)
                if source is not None:
                    _copy(source, folder / path, None)
        while counted.read(CHUNK):  # to the end, where the checksum of the compression stands
            pass


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        first = file.read(8)
    open_it: Any = next((found for magic, found in COMPRESSIONS.items() if first.startswith(magic)), Path.open)
    return open_it(archive, "rb")


def _is_tar(path: Path) -> bool:
    try:
        with _decompressed(path) as stream:
            return stream.read(tarfile.BLOCKSIZE)[USTAR_AT:].startswith(b"ustar")
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        return False


def _copy(source: IO[bytes], target: Path, budget: _Budget | None) -> None:
    """Copies a member; ``budget`` is None where the bytes have been counted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as sink:
        while chunk := source.read(CHUNK):
            if budget is not None:
                budget.count(len(chunk))
            sink.write(chunk)
