"""What is going on in a search, for display."""

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class SearchProgress:
    """Hold what is going on, for display.

    Attributes:
        asked: trials wanted.
        outcomes: ended trials by outcome.
        running: trial number to the fraction of its iterations done.
        scored: numbers of the trials that have been validated.
        best: number, objective and its half-width of the best of them; None in a comparison, which selects nothing.
        evaluated: evaluations done, by the part of the data set that they are on.
        finalists: trials to be scored on fresh validation tasks, once they are known.
        references: wanted.
        references_done: trained and evaluated.
        started: monotonic seconds.
        ended_here: outcomes of the trials that ended since this driver started.
        preparing: what is done before the first trial.
    """

    asked: int
    outcomes: Counter[str] = field(default_factory=Counter)
    running: dict[int, float] = field(default_factory=dict)
    scored: set[int] = field(default_factory=set)
    best: tuple[int, float, float] | None = None
    evaluated: Counter[str] = field(default_factory=Counter)
    finalists: int = 0
    references: int = 0
    references_done: int = 0
    started: float = field(default_factory=time.monotonic)
    ended_here: list[str] = field(default_factory=list)
    preparing: str = ""

    def seconds_left(self) -> float | None:
        """Estimate the seconds left from the trials ended so far, as long for a reference; None before the first."""
        if not self.ended_here:
            return None
        each = (time.monotonic() - self.started) / len(self.ended_here)
        missing = self.asked - sum(self.outcomes.values()) + self.references - self.references_done
        return each * missing
