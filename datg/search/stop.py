"""Why a search should stop before its end: a signal, or its time is up."""

import signal
import time
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Remembers the first reason to stop.

    The first signal asks for a clean stop and puts the default handlers back, so that a second Ctrl-C leaves at once.
    """

    def __init__(self, time_budget: float | None = None) -> None:
        """``time_budget`` is in seconds from now; None sets no limit."""
        self._deadline = None if time_budget is None else time.monotonic() + time_budget
        self._signal: int | None = None

    def install(self) -> None:
        """Handles the signals of :data:`HANDLED` from now on; call again after a library has put its own handlers there."""
        if self._signal is None:
            for number in HANDLED:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        for handled in HANDLED:
            signal.signal(handled, signal.SIG_DFL)

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self._signal is not None or (self._deadline is not None and time.monotonic() >= self._deadline)

    @property
    def reason(self) -> str:
        """In words."""
        if self._signal is None:
            return "the time budget is used up"
        return "Ctrl-C" if self._signal == signal.SIGINT else signal.Signals(self._signal).name

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 75 otherwise: stopped, can be resumed."""
        return 130 if self._signal == signal.SIGINT else 75
