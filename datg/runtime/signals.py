"""How a command ends: signals, reasons to stop, the exit.

A search must end in order whenever it is told to, and with the exit code that says so. Several libraries are in the way:

- `ray.init` installs a handler of its own for SIGTERM, twice, and Tune one for SIGUSR1. So our handlers are put back again and
  again (:meth:`StopRequest.install`), and Ray's are kept out while it starts (:mod:`datg.search.ray.private_parts`).
- An exception that is raised in the middle of an import may be swallowed there, or end the process by `abort` where the module is
  written in C++ (torch's are). So a signal that comes during an import is raised right after it (:func:`_raise`).
- A KeyboardInterrupt that comes in the middle of a destructor is swallowed, and typer turns one into an ordinary exit. So a
  signal is remembered, raised again at the next safe place (:func:`reraise_signal`), and a program that is still there after
  :data:`LEAVE_SECONDS` ends whatever it does.
- A library that calls Python from C or Rust may turn what is raised there into an error of its own (pydantic does, in
  serializers). So an error that ends a command after a signal is that signal (:func:`received_signal`).
- Python waits at its end for background threads: MLflow's may hang on a dead server, and Ray's destructors on a dead cluster. So
  a command leaves by :func:`leave`, once everything is written.
- Ray ends the whole program with exit code 1 when another thread's garbage collector frees one of its references while it shuts
  down. So what is garbage is collected before, and nothing meanwhile (:func:`without_garbage_collection`).
"""

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from datg.runtime.exit_codes import ExitCode

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
LEAVE_SECONDS = 25.0  # that a program has for unwinding after a signal
RETRY_SECONDS = 0.05  # after which a signal that came during an import is raised, if the import has ended

_came: list[int] = []  # signals, in order


class Terminated(BaseException):
    """Say that SIGTERM or SIGUSR1 came before anything ran that could be stopped in order."""


def raise_on_signals() -> None:
    """Have the signals of :data:`HANDLED` unwind the program from now on, Ctrl-C as KeyboardInterrupt.

    What is swallowed is remembered for :func:`reraise_signal` and :class:`StopRequest`.
    """
    for number in HANDLED:
        signal.signal(number, _raise)


def reraise_signal() -> None:
    """Re-raise a signal whose exception was swallowed by library code."""
    if _came:
        _unwind(_came[0])


def received_signal() -> signal.Signals | None:
    """Return the first signal that unwound the program, or was meant to; None before one came."""
    return signal.Signals(_came[0]) if _came else None


def exit_code_of(number: int) -> ExitCode:
    """Return the exit code after a signal."""
    return ExitCode.CTRL_C if number == signal.SIGINT else ExitCode.RESUMABLE


def leave(code: int) -> NoReturn:
    """End the process with ``code`` without waiting for background threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect garbage now, and none while the block runs."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _raise(number: int, frame: FrameType | None) -> None:
    if not _came:
        _later(LEAVE_SECONDS, os._exit, exit_code_of(number))
    _came.append(number)
    if _is_importing(frame):
        _later(RETRY_SECONDS, _send_again, number)
    else:
        _unwind(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _send_again(number: int) -> None:
    if signal.getsignal(number) is _raise:  # else a StopRequest has noted it meanwhile
        os.kill(os.getpid(), number)


def _later(seconds: float, function: Callable[..., Any], *arguments: int) -> threading.Timer:
    timer = threading.Timer(seconds, function, arguments)
    timer.daemon = True
    timer.start()
    return timer


def _unwind(number: int) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(signal.Signals(number).name)


class StopRequest:
    """Remember the first reason to stop.

    The first signal asks for a clean stop and puts the default handlers back, so that a second Ctrl-C leaves at once.
    """

    def __init__(self, time_budget: float | None = None) -> None:
        """Set a ``time_budget`` in seconds from now; None sets no limit."""
        self._deadline = None if time_budget is None else time.monotonic() + time_budget
        self._signal: int | None = None
        self._asked: tuple[str, ExitCode] | None = None
        self._last_words: Callable[[], None] | None = None
        self._overdue: threading.Timer | None = None

    def install(self) -> None:
        """Handle the signals of :data:`HANDLED` from now on; call again after a library has put its own handlers there."""
        if not self.signalled:
            for number in HANDLED:
                signal.signal(number, self._note)
            if _came:  # and was swallowed
                self._note(_came[0], None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        self.ask("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name, exit_code_of(number))
        for handled in HANDLED:
            signal.signal(handled, signal.SIG_DFL)
        if self._last_words is not None:
            self._overdue = _later(LEAVE_SECONDS, self.leave)

    @contextlib.contextmanager
    def ending_in_time(self, last_words: Callable[[], None]) -> Iterator[None]:
        """End the process :data:`LEAVE_SECONDS` after a signal that comes in the block, if the block has not ended by then.

        A signal to all processes of a machine, as `systemctl stop` and `scancel` send it, ends Ray's, too, for whose answers Ray
        then waits a minute where no signal reaches it.

        Args:
            last_words: called before.
        """
        self._last_words = last_words
        try:
            yield
        finally:
            self._last_words = None
            if self._overdue is not None:
                self._overdue.cancel()

    @property
    def signalled(self) -> bool:
        """Return whether a signal has come."""
        return self._signal is not None

    def leave(self) -> None:
        """Say the last words and end the process after a signal, within :meth:`ending_in_time`; elsewhere do nothing."""
        if self._last_words is not None and self._signal is not None:
            self._last_words()
            leave(exit_code_of(self._signal))

    def ask(self, reason: str, exit_code: ExitCode = ExitCode.RESUMABLE) -> None:
        """Ask for a stop, unless one has been asked for."""
        if self._asked is None:
            self._asked = (reason, exit_code)

    @property
    def requested(self) -> bool:
        """Return whether to stop."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.ask("the time budget is used up")
        return self._asked is not None

    @property
    def reason(self) -> str:
        """Return it in words."""
        return self._asked[0] if self._asked else ""

    @property
    def exit_code(self) -> ExitCode:
        """Return 130 after Ctrl-C, 3 if no trial succeeds any more, 75 otherwise: stopped, can be resumed."""
        return self._asked[1] if self._asked else ExitCode.RESUMABLE
