"""What a user asks of a search or a comparison, and what it may use."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datg.errors import ConfigError
from datg.search.comparison import Comparison

AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a search may use.

    Attributes:
        address: of a Ray cluster, ``auto`` for the one this machine belongs to, None to start one here.
        cpus_per_trial: cores, which is also the number of threads of a trial.
        gpus_per_trial: may be a fraction; None takes one where there are any; auto measures how many trials share one.
        max_concurrent: trials at once; None takes as many as fit.
        max_failures: times that a trial is tried again after its machine or process broke.
        trial_timeout: seconds without a finished iteration after which a trial counts as hung; None waits for ever.
        disk_budget: bytes that the search's folder may take; None sets no limit.
    """

    address: str | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: float | Literal["auto"] | None = None
    max_concurrent: int | None = None
    max_failures: int = 2
    trial_timeout: float | None = None
    disk_budget: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; see the options of ``launchers/search.py``.

    Attributes:
        spaces: the folder of the spaces that go with data sets.
        flags: dotted keys that were given as flags.
        allow_change: whether a resumed search may differ from what it began as.
        comparison: what is compared, if it is not a search in a space.
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


def parse_gpus(text: str | None) -> float | Literal["auto"] | None:
    """What ``--gpus-per-trial`` says; None stays None.

    Raises:
        ConfigError: it is neither a number of GPUs nor auto.
    """
    if text is None or text == AUTO:
        return text
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise ConfigError(f"`--gpus-per-trial` must be auto or a number such as 0, 0.25 or 1, got {text}.")
    return number
