"""Why a search should stop before its end: a signal, its time or its disk is used up, or nothing works any more."""

import os
import signal
import threading
import time
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
CTRL_C, RESUMABLE, HOPELESS = 130, 75, 3
LEAVE_SECONDS = 25.0  # that a program has for unwinding after a signal

_came: list[int] = []  # signals, in order


class Terminated(BaseException):
    """SIGTERM or SIGUSR1 came where nothing is running yet that could be stopped in order."""


def raise_on_signals() -> None:
    """From now on the signals of :data:`HANDLED` unwind the program, Ctrl-C as KeyboardInterrupt.

    What is raised in the middle of an import or of a destructor may be swallowed there. So it is remembered for
    :func:`raise_what_came` and :class:`StopRequest`, and a program that is still there after :data:`LEAVE_SECONDS` ends.
    """
    for number in HANDLED:
        signal.signal(number, _raise)


def raise_what_came() -> None:
    """Raises again what somebody swallowed."""
    if _came:
        _unwind(_came[0])


def code_of(number: int) -> int:
    """The exit code after a signal."""
    return CTRL_C if number == signal.SIGINT else RESUMABLE


def _raise(number: int, frame: FrameType | None) -> None:
    if not _came:
        late = threading.Timer(LEAVE_SECONDS, os._exit, [code_of(number)])
        late.daemon = True
        late.start()
    _came.append(number)
    _unwind(number)


def _unwind(number: int) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(signal.Signals(number).name)


class StopRequest:
    """Remembers the first reason to stop.

    The first signal asks for a clean stop and puts the default handlers back, so that a second Ctrl-C leaves at once.
    """

    def __init__(self, time_budget: float | None = None) -> None:
        """``time_budget`` is in seconds from now; None sets no limit."""
        self._deadline = None if time_budget is None else time.monotonic() + time_budget
        self._signalled = False
        self._asked: tuple[str, int] | None = None

    def install(self) -> None:
        """Handles the signals of :data:`HANDLED` from now on; call again after a library has put its own handlers there."""
        if not self._signalled:
            for number in HANDLED:
                signal.signal(number, self._note)
            if _came:  # and was swallowed
                self._note(_came[0], None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        self.ask("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name, code_of(number))
        for handled in HANDLED:
            signal.signal(handled, signal.SIG_DFL)

    def ask(self, reason: str, exit_code: int = RESUMABLE) -> None:
        """Asks for a stop, unless one has been asked for."""
        if self._asked is None:
            self._asked = (reason, exit_code)

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.ask("the time budget is used up")
        return self._asked is not None

    @property
    def reason(self) -> str:
        """In words."""
        return self._asked[0] if self._asked else ""

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 3 if no trial succeeds any more, 75 otherwise: stopped, can be resumed."""
        return self._asked[1] if self._asked else RESUMABLE
