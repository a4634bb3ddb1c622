"""When to try again what broke: an outage of a node, a file system or a network is one outage, and lasts."""

from collections import Counter
from collections.abc import Hashable

OUTAGE_SECONDS = (2.0, 10.0, 60.0)  # before the next tries of what its machine broke; the last one for all that follow
ERROR_SECONDS = 2.0  # likewise of what raised an error


class Retries:
    """Count tries, and say how long to wait before the next one."""

    def __init__(self, most: int) -> None:
        """Allow ``most`` tries after the first."""
        self._most = most
        self._used: Counter[Hashable] = Counter()

    def wait(self, what: Hashable, *, outage: bool) -> float | None:
        """Note that ``what`` broke; return the seconds until it may be tried again, None if it may not.

        Args:
            what: names it.
            outage: whether its machine broke it, and not an error that its own code raised.
        """
        used = self._used[what]
        if used >= self._most:
            return None
        self._used[what] += 1
        return OUTAGE_SECONDS[min(used, len(OUTAGE_SECONDS) - 1)] if outage else ERROR_SECONDS
