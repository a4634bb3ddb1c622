"""Unpacks zip and tar files that may be hostile: nothing outside the folder, no links, no bombs.

Members are copied as streams and their bytes counted, since what an archive says of its sizes may be a lie.
"""

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from datg.errors import DataError

MOST_ENTRIES = 2_000_000
MOST_BYTES = 200 << 30
MOST_RATIO = 100  # unpacked to packed; pictures and arrays of counts stay far below
RATIO_FROM = 64 << 20  # bytes below which no ratio is a danger
CHUNK = 1 << 20
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)
SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")


@dataclass
class _Budget:
    """What an archive may still unpack."""

    archive: Path
    packed: int
    entries: int = 0
    unpacked: int = 0
    names: set[str] = field(default_factory=set)

    def enter(self, name: str, *, link: bool, special: bool) -> PurePosixPath:
        """Counts an entry and checks where it wants to go."""
        self.entries += 1
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0] or "\0" in name:
            self._refuse(f"{name} would be written outside the folder")
        if link or special:
            self._refuse(f"{name} is a {'link' if link else 'device or pipe'}")
        if self.entries > MOST_ENTRIES:
            self._refuse(f"it has more than {MOST_ENTRIES:,} entries")
        if str(path).casefold() in self.names:
            self._refuse(f"{name} stands in it twice")
        self.names.add(str(path).casefold())
        return path

    def count(self, number: int) -> None:
        """Counts unpacked bytes."""
        self.unpacked += number
        if self.unpacked > MOST_BYTES:
            self._refuse(f"it unpacks to more than {MOST_BYTES >> 30} GiB")
        if self.unpacked > RATIO_FROM and self.unpacked > MOST_RATIO * self.packed:
            self._refuse(f"it unpacks to more than {MOST_RATIO} times its size")

    def _refuse(self, reason: str) -> None:
        raise DataError(f"{self.archive} is refused: {reason}; unpack it yourself if you trust it.")


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a zip or tar file, or a file that calls itself one."""
    return path.is_file() and (
        path.name.lower().endswith(SUFFIXES) or zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    )


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
            _copy(_zip_members(archive, budget), folder, budget)
        elif tarfile.is_tarfile(archive):
            _copy(_tar_members(archive, budget), folder, budget)
        else:
            raise DataError(f"{archive} is {_what_it_is(archive)}.")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DAMAGED) or (isinstance(error, OSError) and error.errno == errno.EINVAL):
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


Member = tuple[PurePosixPath, IO[bytes]]


def _zip_members(archive: Path, budget: _Budget) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            path = budget.enter(info.filename, link=stat.S_ISLNK(mode), special=False)
            if not info.is_dir():
                with file.open(info) as source:
                    yield path, source


def _tar_members(archive: Path, budget: _Budget) -> Iterator[Member]:
    with tarfile.open(archive) as file:
        for info in file:
            path = budget.enter(
                info.name, link=info.issym() or info.islnk(), special=not (info.isreg() or info.isdir())
            )
            source = None if info.isdir() else file.extractfile(info)
            if source is not None:
                yield path, source


def _copy(members: Iterator[Member], folder: Path, budget: _Budget) -> None:
    for path, source in members:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as sink:
            while chunk := source.read(CHUNK):
                budget.count(len(chunk))
                sink.write(chunk)
