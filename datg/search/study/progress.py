"""What is going on in a search, for display."""

import time
from collections import Counter
from dataclasses import dataclass, field

from datg.trial.records import FAILURES

# Of a trial, if none has a whole interval with its validation behind it, and since the first one began: before that nothing can
# be said.
LEAST_DONE, LEAST_SECONDS = 0.2, 10.0
ROUNDING = 1e-9  # of shares


@dataclass
class SearchProgress:
    """Hold what is going on, for display.

    Attributes:
        asked: trials wanted.
        outcomes: trials by outcome that have ended, or were broken by their machines.
        running: trial number to the fraction of its iterations done.
        validating: numbers of running trials that validate now.
        begun_with: what the running trials had done when this driver took them up, likewise.
        scored: numbers of the trials that have been validated.
        best: number, objective and its half-width of the best of them; None in a comparison, which selects nothing.
        evaluated: evaluations done, by the part of the data set that they are on.
        finalists: trials to be scored on fresh validation tasks, once they are known.
        references: wanted.
        references_done: trained and evaluated.
        started: monotonic seconds of the first trial's start.
        ended_here: outcomes of the trials that ended since this driver started.
        preparing: what is done before the first trial.
        interval: the share of a trial's iterations from one validation to the next.
    """

    asked: int
    outcomes: Counter[str] = field(default_factory=Counter)
    running: dict[int, float] = field(default_factory=dict)
    validating: set[int] = field(default_factory=set)
    begun_with: dict[int, float] = field(default_factory=dict)
    scored: set[int] = field(default_factory=set)
    best: tuple[int, float, float] | None = None
    evaluated: Counter[str] = field(default_factory=Counter)
    finalists: int = 0
    references: int = 0
    references_done: int = 0
    started: float | None = None
    ended_here: list[str] = field(default_factory=list)
    preparing: str = ""
    interval: float = 1.0

    @property
    def missing(self) -> int:
        """Return how many of the trials wanted have neither ended nor been broken by their machines."""
        return self.asked - sum(self.outcomes.values())

    def start(self, number: int, share: float) -> None:
        """Note that a trial begins or goes on, with a share of its iterations done."""
        if self.started is None:
            self.started = time.monotonic()
        self.running[number] = self.begun_with[number] = share

    def seconds_left(self) -> float | None:
        """Estimate the seconds left from what has been done since the first trial began; None while that is too little.

        A trial counts by its share of iterations, a pruned one as a whole: others will be pruned, too. A reference takes as
        long as a trial. What failed tells nothing of how long others take.
        """
        if self.started is None:
            return None
        elapsed = time.monotonic() - self.started
        told = len([outcome for outcome in self.ended_here if outcome not in FAILURES])
        under_way = sum(self.running.values())
        done = told + under_way - sum(self.begun_with.get(number, 0.0) for number in self.running)
        missing = self.missing - under_way + self.references - self.references_done
        timed = any(
            share - self.begun_with.get(number, 0.0) > self.interval + ROUNDING
            for number, share in self.running.items()
        )
        if elapsed < LEAST_SECONDS or (done < LEAST_DONE and not timed):
            return None
        return max(0.0, elapsed / done * missing)
