"""What a driver does with users' requests: trials that are to come next, and trials that are to end."""

import time
from collections import deque

from datg.errors import ConfigError
from datg.search.enqueued import check_enqueued
from datg.search.settings import SearchSettings
from datg.search.state.inbox import ENQUEUE, STOP_TRIAL, Inbox, UserRequest

SECONDS_BETWEEN_LOOKS = 5.0


class Requests:
    """Hold the waiting requests, as a driver last saw them."""

    def __init__(self, inbox: Inbox, settings: SearchSettings, known: dict[str, int]) -> None:
        """Look at nothing yet.

        Args:
            inbox: of the search.
            settings: what may be asked for.
            known: numbers of trials that stand in the study already, by the request that they were enqueued by.
        """
        self._inbox, self._settings, self._known = inbox, settings, known
        self._looked: float | None = None
        self._enqueued: deque[UserRequest] = deque()

    def look(self) -> list[UserRequest]:
        """Read what is new, at most every :data:`SECONDS_BETWEEN_LOOKS`; return the requests to end a trial."""
        now = time.monotonic()
        if self._looked is not None and now - self._looked < SECONDS_BETWEEN_LOOKS:
            return []
        self._looked = now
        waiting, stops = {request.name for request in self._enqueued}, []
        for request in self._inbox.pending(on_damage=self._inbox.answer):
            if request.name in self._known:
                self.begun(request, self._known[request.name])
            elif request.kind == STOP_TRIAL:
                stops.append(request)
            elif request.kind != ENQUEUE:
                self._inbox.answer(request.name, f"a search knows no request of the kind {request.kind}")
            elif request.name not in waiting and self._is_valid(request):
                self._enqueued.append(request)
        return stops

    def _is_valid(self, request: UserRequest) -> bool:
        try:
            check_enqueued(request.values, self._settings)
        except ConfigError as error:
            self._inbox.answer(request.name, str(error))
            return False
        return True

    def next_enqueued(self) -> UserRequest | None:
        """Return the trial that is to come next; it waits until :meth:`begun`."""
        return self._enqueued.popleft() if self._enqueued else None

    def begun(self, request: UserRequest, number: int) -> None:
        """Answer that an enqueued trial has got a number."""
        self._known[request.name] = number
        self._inbox.answer(request.name, f"trial {number}")

    def answer(self, request: UserRequest, text: str) -> None:
        """Answer a request."""
        self._inbox.answer(request.name, text)
