"""What a user asks of a search or a comparison, and what it may use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datg.search.comparison.grid import Comparison
from datg.search.ray.resources import Resources


@dataclass(frozen=True, kw_only=True)
class Request:
    """Hold what the user asked for; see the options of ``launchers/search.py``.

    Attributes:
        spaces: the folder of the spaces that go with data sets.
        flags: dotted keys that were given as flags.
        allow_change: whether a resumed search may differ from what it began as.
        comparison: what is compared, if it is not a search in a space.
        name: of a new search; None for one by data set and date.
        enqueue: trials that are to come next, as they were typed, or by dotted key.
        warm_start: a search whose trials the sampler is to know from the beginning.
        command: as it was called.
        notify: told what is waited for before the search begins.
        references: whether a search is measured against trainings beside its trials; None: yes if new, else as it began.
    """

    dataset: str | None
    space_file: Path | None
    spaces: Path
    settings: list[str]
    flags: dict[str, Any]
    output: Path
    data_root: Path | None
    study_storage: str | None
    time_budget: float | None
    resources: Resources
    allow_change: bool = False
    comparison: Comparison | None = None
    references: bool | None = None
    name: str | None = None
    enqueue: Sequence[str | Mapping[str, Any]] = ()
    warm_start: str | None = None
    command: str = ""
    notify: Callable[[str], None] = lambda text: None

    def asked(self) -> dict[str, Any]:
        """Return what a comparison is asked for, by option; empty for a search, whose settings say it all."""
        comparison = self.comparison
        if comparison is None:
            return {}
        space = self.space_file and str(self.space_file.absolute())
        own = {key: value for key, value in self.flags.items() if value is not None}
        asked = {"dataset": self.dataset, **comparison.asked(), "space": space, **own}
        return {key: value for key, value in asked.items() if value != {}}

    def going_on(self) -> "Request":
        """Return the request to go on with what this one has begun: places and resources, nothing that a search is made of."""
        return replace(
            self, dataset=None, space_file=None, settings=[], flags={}, comparison=None, references=None, name=None
        )
