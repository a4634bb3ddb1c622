"""Unpacks zip and tar files that may be hostile: nothing outside the folder, no links, no bombs.

Where a member may go is decided by tarfile's data filter (PEP 706), for zips too. Limits are ours: of entries, of bytes, and of
the ratio to the packed size. Of a tar every decompressed byte is counted, headers included.
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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn, Self

from datg.errors import DataError

MOST_ENTRIES = 2_000_000
MOST_BYTES = 200 << 30
MOST_RATIO = 100  # unpacked to packed; pictures and arrays of counts stay far below
RATIO_FROM = 64 << 20  # bytes below which no ratio is a danger
MOST_PARTS = 32  # of a member's path
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
CLASHES = {
    errno.EEXIST: "a file and a folder in it have one name",
    errno.ENOTDIR: "a file and a folder in it have one name",
    errno.EISDIR: "a file and a folder in it have one name",
    errno.ENAMETOOLONG: "a path in it is too deep or too long",
}
# gzip and bz2 raise OSErrors without a number; a zip that lacks bytes seeks before its start.
DAMAGED_ERRNO = (None, errno.EINVAL)


class _LongHeader(Exception):
    """A header of a tar announces more than a name."""


@dataclass
class _Limits:
    """Hold what an archive may still unpack."""

    archive: Path
    packed: int
    entries: int = 0
    unpacked: int = 0

    def enter(self, member: tarfile.TarInfo, folder: Path) -> None:
        """Count an entry, and refuse what is no plain file or folder or wants to go elsewhere."""
        self.entries += 1
        if self.entries > MOST_ENTRIES:
            self.refuse(f"it has more than {MOST_ENTRIES:,} entries")
        shown = ascii(member.name)[1:-1][:100]
        if not (member.isreg() or member.isdir()) or member.issparse():
            kind = (
                "link" if member.issym() or member.islnk() else "sparse file" if member.issparse() else "device or pipe"
            )
            self.refuse(f"{shown} is a {kind}")
        if len(PurePosixPath(member.name).parts) > MOST_PARTS:
            self.refuse(f"the path {shown} is too deep or too long")
        try:
            tarfile.data_filter(member, str(folder))
        except (tarfile.FilterError, ValueError):
            self.refuse(f"{shown} would be written outside the folder")

    def count(self, number: int) -> None:
        """Count unpacked bytes."""
        self.unpacked += number
        if self.unpacked > MOST_BYTES:
            self.refuse(f"it unpacks to more than {MOST_BYTES >> 30} GiB")
        if self.unpacked > RATIO_FROM and self.unpacked > MOST_RATIO * self.packed:
            self.refuse(f"it unpacks to more than {MOST_RATIO} times its size")

    def refuse(self, reason: str) -> NoReturn:
        """Raise what the user reads."""
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

    def __init__(self, stream: IO[bytes], limits: _Limits) -> None:
        self._stream, self._limits = stream, limits

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._limits.count(len(data))
        return data


def is_archive(path: Path) -> bool:
    """Return whether ``path`` is a zip or tar file, or a file that calls itself one."""
    return path.is_file() and (path.name.lower().endswith(SUFFIXES) or zipfile.is_zipfile(path) or _is_tar(path))


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack ``archive`` into the new ``folder``; on any trouble the folder is removed.

    Returns:
        The folder, or the only folder in it, where archives wrap everything in one.

    Raises:
        DataError: it is no archive, is damaged or encrypted, or is refused.
    """
    folder.mkdir(parents=True)
    limits = _Limits(archive, archive.stat().st_size)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, limits)
        elif _is_tar(archive):
            try:
                _unpack_tar(archive, folder, limits)
            except _LongHeader as reason:
                limits.refuse(str(reason))
        else:
            raise DataError(f"{archive} is {_what_it_is(archive)}.")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in CLASHES:
            limits.refuse(CLASHES[error.errno])
        if isinstance(error, DAMAGED) or (isinstance(error, OSError) and error.errno in DAMAGED_ERRNO):
            raise DataError(f"{archive} is damaged, truncated or encrypted ({error}); download it again.") from error
        raise
    return inner_folder(folder)


def inner_folder(folder: Path) -> Path:
    """Return ``folder``, or the only folder in it, and so on; files whose names begin with a dot or ``__`` do not count."""
    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    return inner_folder(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        first = file.read(64)
    if first.lstrip().startswith(b"<"):
        return "a web page, not an archive; download it again"
    return "neither a zip nor a tar file, or it is truncated" if first else "empty"


def _unpack_zip(archive: Path, folder: Path, limits: _Limits) -> None:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            info.filename = info.filename.replace("\\", "/")  # of old programs for Windows
            member = tarfile.TarInfo(info.filename)  # tarfile's filter judges names of both
            if info.is_dir():
                member.type = tarfile.DIRTYPE
            elif stat.S_ISLNK(info.external_attr >> 16):
                member.type = tarfile.SYMTYPE
            limits.enter(member, folder)
            limits.count(info.file_size)  # zipfile reads no more than that, and then finds that the checksum is wrong
            file.extract(info, folder)


def _unpack_tar(archive: Path, folder: Path, limits: _Limits) -> None:
    with _decompressed(archive) as stream:
        counted: Any = _Counted(stream, limits)
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Header) as file:
            for info in file:
                limits.enter(info, folder)
                file.extract(info, folder, filter="data")
        while counted.read(CHUNK):  # to the end, where the checksum of the compression stands
            pass


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        first = file.read(8)
    open_it: Any = next((opener for magic, opener in COMPRESSIONS.items() if first.startswith(magic)), Path.open)
    return open_it(archive, "rb")


def _is_tar(path: Path) -> bool:
    try:
        with _decompressed(path) as stream:
            return stream.read(tarfile.BLOCKSIZE)[USTAR_AT:].startswith(b"ustar")
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        return False
