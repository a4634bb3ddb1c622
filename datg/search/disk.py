"""Room on the disk: what a search will need, what it may use, and what it can do without."""

import shutil
import time
from pathlib import Path

from datg.data.class_table import ClassTable
from datg.errors import ConfigError
from datg.final_evaluation import EVALUATION
from datg.network import build_learner
from datg.search.driver import SearchDriver
from datg.search.settings import SearchSettings
from datg.sizes import bytes_in, shown_size
from datg.stop import StopRequest
from datg.trial import BEST, LAST

SECONDS_BETWEEN_LOOKS = 10.0
SMALL_FILES = (
    50_000  # bytes of a trial beside weights and evaluation: configuration, progress, clusters, its part of the study
)
BYTES_PER_TEST = 8  # of a test task in an evaluation's file
SPARE = 5 * 10**6  # bytes that Ray and sqlite want beside the trials


def bytes_needed(settings: SearchSettings, base: ClassTable, concurrent: int, *, least: bool = False) -> int:
    """What a search will need at most; with ``least``, what it cannot do without (see :func:`dispensable`). In bytes."""
    config = settings.trial_config
    state = build_learner(config, base.shape).state_dict()
    weights = sum(value.numel() * value.element_size() for value in state.values())
    moments = 2 if config.training.optimiser == "adam" else 1
    last = (1 + moments) * weights
    each = BYTES_PER_TEST * config.evaluation.test_tasks + SMALL_FILES + (0 if least else weights + last)
    return settings.trials * each + (min(concurrent, settings.trials) + 1) * (weights + last) + SPARE


def check_room(output: Path, needed: int, budget: int | None) -> None:
    """Refuses a search that could not end for want of room.

    Args:
        output: where it is to go.
        needed: bytes.
        budget: bytes that it may take; None for all that is free.

    Raises:
        ConfigError: naming what is there and what is needed.
    """
    if budget is not None:
        if budget < needed:
            raise ConfigError(
                f"`--disk-budget` is {shown_size(budget)} and this search needs at least {shown_size(needed)}; raise it or lower "
                "--trials."
            )
        return
    place = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    total, _, free = shutil.disk_usage(place)
    if total and free < needed:  # what is no disk has no size
        raise ConfigError(
            f"`--output` {output} has {shown_size(free)} free and this search needs up to {shown_size(needed)}; free space, "
            "choose another folder, or lower --trials."
        )


class DiskWatch:
    """Keeps a search within its budget."""

    def __init__(self, budget: int | None) -> None:
        """``budget`` is in bytes; None sets no limit."""
        self._budget = budget
        self._looked = time.monotonic()

    def look(self, driver: SearchDriver, stop: StopRequest) -> None:
        """Drops what can be done without, and asks for a stop if that is not enough; cheap, to be called all the time."""
        if self._budget is None or time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        excess = bytes_in(driver.folder.path) - self._budget
        for path in dispensable(driver):
            if excess <= 0:
                break
            excess -= path.stat().st_size
            path.unlink()
        if excess > 0:
            stop.ask(
                f"the disk budget of {shown_size(self._budget)} is used up; resume with a larger --disk-budget, or with another "
                "--output after moving the folder"
            )


def dispensable(driver: SearchDriver) -> list[Path]:
    """Files of ended trials in the order in which they can be done without.

    First where training stood, then best weights of evaluated trials: of those that cannot be exported, then of the worst by
    validation; the best one keeps its own. Configurations, progress and evaluations always stay: any trial can be made again
    from them.
    """
    folders = [driver.folder.trial(number) for number in driver.ended_from_worst()[:-1]]
    last = [folder / LAST for folder in folders if not (folder / BEST).exists() or (folder / EVALUATION).exists()]
    weights = [folder / BEST for folder in folders if (folder / EVALUATION).exists()]
    return [path for path in [*last, *weights] if path.exists()]
