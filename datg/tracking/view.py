"""Shows trials in MLflow, in the background: brought up to date from records again and again.

Nothing here is a source of truth, and a dead server costs nothing but a line.
"""

import sys
import threading
import time
from collections.abc import Callable

from datg.data.catalog import Dataset
from datg.errors import without_password
from datg.tracking.runs import Parent, SearchRuns
from datg.tracking.sent import Unsent, count_unsent, read_sent
from datg.trial.records import TrialRecord

SECONDS_BETWEEN_SYNCS = 5.0
PATIENCE, HURRIED = 30.0, 5.0  # seconds without progress that the end of a search waits, and after Ctrl-C
SWITCH_SECONDS = 0.0005
MESSAGE_LENGTH = 200


class MlflowView:
    """Keeps MLflow up to date with ``records()``."""

    def __init__(
        self,
        uri: str,
        parent: Parent,
        dataset: Dataset,
        records: Callable[[], list[TrialRecord]],
        *,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Show nothing yet.

        Args:
            uri: of the tracking store.
            parent: the run above.
            dataset: logged as three inputs of every run.
            records: what there is to show, called from the background thread.
            warn: told once when MLflow cannot be reached, and once when it can again.
        """
        self._uri, self._parent, self._dataset = uri, parent, dataset
        self._records, self._warn = records, warn
        self._runs: SearchRuns | None = None
        self._thread = threading.Thread(target=self._keep_syncing, name="mlflow", daemon=True)
        self._finished = threading.Event()
        self._status = ""  # of the parent, once it has ended
        self._failing = self._given_up = False
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
            if hurry():
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
            if not self._failing:
                reason = without_password((str(error).strip() or type(error).__name__).splitlines()[0])[:MESSAGE_LENGTH]
                self._warn(
                    f"MLflow at {without_password(self._uri)} does not take the results ({reason}); they are sent later."
                )
            self._failing = True
            self._runs = None
            return False
        else:
            if self._failing:
                self._warn("MLflow takes the results again.")
            self._failing = False
            return True

    def sync(self) -> None:
        """Send everything that MLflow does not have yet.

        Raises:
            Exception: whatever MLflow raises; what was not sent is sent by the next call.
        """
        if self._runs is None:
            self._runs = SearchRuns(self._uri, self._parent, self._dataset)
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
