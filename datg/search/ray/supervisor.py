"""Looks after a search while Tune runs its loop: signs of life, hanging trials, reasons to stop."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ray import tune

from datg.errors import without_password
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import StopRequest
from datg.search.ray.stop_notice import StopNotice
from datg.search.ray.watchdog import Watchdog
from datg.search.ray.worker import describe_error
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import is_storage_failure

WAIT_SECONDS = 0.5  # between two looks at what Ray is doing
SAVE_SECONDS = 12.0  # that running trials get to save and end, when a search is stopped
SIGN_SECONDS = 2.0


class Unsaved:
    """Keep what is ours out of Tune's pickles: no object, and no password, goes into its folder."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SearchSupervisor(Unsaved, tune.Stopper):
    """Look after a search: asked in every turn of Tune's loop, in the main thread, whether to end."""

    def __init__(
        self,
        driver: SearchDriver,
        stop: StopRequest,
        notice: StopNotice,
        watchdog: Watchdog,
        work: Iterable[Callable[[], None]] = (),
    ) -> None:
        """Look after the search of ``driver``; what ``work`` holds is called every :data:`SIGN_SECONDS`."""
        self.stop, self.notice = stop, notice
        self._driver, self._watchdog, self._work = driver, watchdog, list(work)
        self._signed = 0.0
        self._patience: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: a trial is stopped by the scheduler alone."""
        return False

    def stop_all(self) -> bool:
        """Return whether to end now; once a stop is requested, running trials get a while to save."""
        self.stop.install()  # Tune has put its own handler for SIGUSR1
        return self.should_stop() and (not self._driver.progress.running or self.out_of_patience)

    @property
    def out_of_patience(self) -> bool:
        """Return whether what runs has had its while to save since a stop was requested."""
        return self._patience is not None and time.monotonic() > self._patience

    def should_stop(self) -> bool:
        """Return whether a stop has been requested; the first time, running trials are told."""
        self._sign()
        self._watchdog.look()
        if self._driver.hopeless:
            self.stop.ask(f"the last {self._driver.patience} trials failed", ExitCode.NO_SUCCESS)
        if self.stop.requested and self._patience is None:
            self._patience = time.monotonic() + SAVE_SECONDS
            self.notice.give()
        return self.stop.requested

    def _sign(self) -> None:
        """Tell, by the time of a file, that the driver is alive, look where trials are, and do what there is to do."""
        if time.monotonic() - self._signed >= SIGN_SECONDS:
            self._signed = time.monotonic()
            self._driver.look_at_running()
            with self.stop_on_storage_error():
                for work in self._work:
                    work()
            with contextlib.suppress(OSError):
                os.utime(self._driver.folder.driver)

    @contextlib.contextmanager
    def stop_on_storage_error(self) -> Iterator[None]:
        """End the search in order, to be resumed, if a call to the driver inside the block cannot write the study."""
        try:
            yield
        except Exception as error:
            if not is_storage_failure(error):
                raise
            cause = error.__cause__ or error
            self._driver.out_of_reach = True
            self.stop.ask(
                f"the study cannot be written ({without_password(describe_error(getattr(cause, 'orig', None) or cause))})"
            )
