"""Shows trials in MLflow, in the background: brought up to date from records again and again.

Nothing here is a source of truth, and a dead server costs nothing but a line.
"""

import sys
import threading
import time
from collections.abc import Callable

from datg.data.catalog import Dataset
from datg.errors import DatgError, without_password
from datg.tracking.runs import Parent, SearchRuns
from datg.tracking.sent import Unsent, count_unsent, read_sent
from datg.trial.records import TrialRecord

SECONDS_BETWEEN_SYNCS = 5.0
PATIENCE, HURRIED = 30.0, 5.0  # seconds without progress that the end of a search waits, and after Ctrl-C
SWITCH_SECONDS = 0.0005
MESSAGE_LENGTH = 200  # of what passes
REFUSALS = (
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
    "ENDPOINT_NOT_FOUND",
)  # error codes of MLflow


class MlflowView:
    """Keep MLflow up to date with ``records()``."""

    def __init__(
        self,
        uri: str,
        parent: Parent,
        dataset: Dataset,
        records: Callable[[], list[TrialRecord]],
        *,
        warn: Callable[[str], None] = lambda message: None,
        opened: Callable[[], None] = lambda: None,
        resend: str,
    ) -> None:
        """Show nothing yet.

        Args:
            uri: of the tracking store.
            parent: the run above.
            dataset: logged as three inputs of every run.
            records: what there is to show, called from the background thread.
            opened: called once, when there is a page to look at, unless all is over by then.
            resend: what sends later what could not be sent: a command.
            warn: told once when MLflow cannot be reached, once when it can again, and what is put in order in a local store.
        """
        self._uri, self._parent, self._dataset = uri, parent, dataset
        self._records, self._warn, self._opened, self._resend = records, warn, opened, resend
        self._runs: SearchRuns | None = None
        self._thread = threading.Thread(target=self._keep_syncing, name="mlflow", daemon=True)
        self._finished = threading.Event()
        self._status = ""  # of the parent, once it has ended
        self._failing = self._given_up = self._refused = self._is_open = False
        self._last_progress = time.monotonic()

    def start(self) -> None:
        """Begin to sync in the background."""
        # Every small write of the driver gives up the interpreter's lock, and would wait 5 ms each time to get it back.
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def close(self, *, status: str, hurry: Callable[[], bool] = lambda: False) -> Unsent | None:
        """Sync a last time and stop the background work; give up when nothing is taken for :data:`PATIENCE` seconds.

        Args:
            status: of the parent from now on: FINISHED, KILLED or FAILED.
            hurry: whether to give up after :data:`HURRIED` seconds, asked all the time.

        Returns:
            What could not be sent; None if everything was.
        """
        self._status, self._last_progress = status, time.monotonic()
        self._finished.set()
        hurried: float | None = None
        while self._thread.is_alive() and time.monotonic() - self._last_progress < PATIENCE:
            if hurry() or self._refused:
                hurried = hurried or time.monotonic()
                if time.monotonic() - hurried > HURRIED:
                    break
            self._thread.join(0.1)
        self._given_up = True
        lacking = count_unsent(self._records(), read_sent(self._parent.runs_file))
        return lacking or (Unsent(0, 0, 0) if self._failing or self._thread.is_alive() else None)

    def _keep_syncing(self) -> None:
        while not self._finished.wait(SECONDS_BETWEEN_SYNCS):
            self.try_to(self.sync)
        while not self.try_to(lambda: self.finish(self._status)) and not self._given_up:
            time.sleep(min(1.0, SECONDS_BETWEEN_SYNCS))

    def try_to(self, action: Callable[[], None]) -> bool:
        """Return whether ``action`` could be done; if not, warn, and look at what is really there the next time."""
        try:
            action()
        except Exception as error:  # whatever MLflow, its database or the network throw: it must not hurt the search
            self._refused = does_not_pass(error)
            if not self._failing:
                later = f"once that is mended, {self._resend} sends them" if self._refused else "they are sent later"
                self._warn(f"{describe_failure(self._uri, error)}; {later}.")
            self._failing = True
            self._runs = None
            return False
        else:
            if self._failing:
                self._warn("MLflow takes the results again.")
            self._failing = self._refused = False
            return True

    def sync(self) -> None:
        """Send everything that MLflow does not have yet.

        Raises:
            Exception: whatever MLflow raises; what was not sent is sent by the next call.
        """
        if self._runs is None:
            self._runs = SearchRuns(self._uri, self._parent, self._dataset, self._warn)
            if not self._is_open and not self._finished.is_set():
                self._is_open = True
                self._opened()
        for record in self._records():
            if self._runs.send(record):
                self._last_progress = time.monotonic()

    def finish(self, status: str) -> None:
        """Look at what is really there, send the rest, and end the parent with ``status``.

        Raises:
            Exception: whatever MLflow raises.
        """
        self._runs = None
        self.sync()
        assert self._runs is not None
        self._runs.end(status, self._records())


def does_not_pass(error: Exception) -> bool:
    """Return whether MLflow refuses what it is asked for, and would again: rights, an address, a version; no outage."""
    if isinstance(error, DatgError):
        return True
    return getattr(error, "error_code", None) in REFUSALS


def describe_failure(uri: str, error: Exception) -> str:
    """Return in a sentence without its end that MLflow does not take results, and why."""
    where, text = without_password(uri), without_password(str(error).strip() or type(error).__name__)
    if does_not_pass(error):
        return (
            f"MLflow at {where} refuses the results ({' '.join(text.split()).rstrip('.')}) and will go on refusing them"
        )
    return f"MLflow at {where} does not take the results ({text.splitlines()[0][:MESSAGE_LENGTH]})"
