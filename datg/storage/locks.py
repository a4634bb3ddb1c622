"""Locks on files, where the file system has them: some network file systems are mounted without, and work goes on there."""

import errno
import logging
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class OptionalLock:
    """Keep other processes out, as far as the file system can; where it cannot, say so.

    Attributes:
        held: whether it does.
    """

    def __init__(self, path: Path, *, timeout: float = -1) -> None:
        """Lock nothing yet; ``timeout`` seconds are waited for another process, for ever if negative."""
        self._path, self._lock, self.held = path, FileLock(path, timeout=timeout), False

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            filelock.Timeout: another process has it.
            OSError: the file cannot be written.
        """
        try:
            self._lock.acquire()
            self.held = True
        except OSError as error:
            if error.errno not in NO_LOCKS:  # a Timeout, too
                raise
            logging.getLogger(__name__).warning(
                "%s cannot be locked (%s), so nothing keeps two processes apart there; mount %s with locks (NFS: not nolock; "
                "Lustre: flock)",
                self._path,
                error.strerror,
                self._path.parent,
            )

    def release(self) -> None:
        """Let it go."""
        if self.held:
            self._lock.release()
            self.held = False

    def __enter__(self) -> Self:
        """See :meth:`acquire`."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See :meth:`release`."""
        self.release()
