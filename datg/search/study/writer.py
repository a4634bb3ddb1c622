"""Writes in order, behind the caller's back, until the caller wants to know that they are done."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST_BEHIND = 1000  # writes; a caller that is faster for long waits for the database


class OrderedWriter:
    """Run writes one after the other in a thread of its own.

    After one that failed none is run any more, so that what is written is always what came first; :meth:`wait` raises its
    exception from then on.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="study")
        self._pending: deque[Future[None]] = deque()
        self._failure: BaseException | None = None

    def write(self, action: Callable[..., None], *arguments: object) -> None:
        """Have ``action(*arguments)`` run after all before it.

        Raises:
            Exception: what an earlier write raised.
        """
        while self._pending and (self._pending[0].done() or len(self._pending) >= MOST_BEHIND):
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._run, action, arguments))

    def wait(self) -> None:
        """Wait until all writes are done.

        Raises:
            Exception: what one of them raised.
        """
        while self._pending:
            self._pending.popleft().result()
        if self._failure is not None:
            raise self._failure

    def _run(self, action: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            action(*arguments)
        except BaseException as failure:
            self._failure = failure
            raise

    def close(self) -> None:
        """End the thread once what waits has been written or has failed."""
        self._thread.shutdown()
