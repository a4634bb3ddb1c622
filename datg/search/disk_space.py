"""Room on the disk: what a search will need, checked before it begins."""

import shutil
from pathlib import Path

from datg.data.class_table import ClassTable
from datg.errors import ConfigError
from datg.search.settings import SearchSettings
from datg.storage.disk_size import format_size
from datg.trial.model import build_learner

SMALL_FILES = (
    50_000  # bytes of a trial beside weights and evaluation: configuration, progress, clusters, its part of the study
)
BYTES_PER_TEST = 8  # of a test task in an evaluation's file
SPARE = 5 * 10**6  # bytes that Ray and sqlite want beside the trials


def bytes_needed(settings: SearchSettings, base: ClassTable, concurrent: int) -> int:
    """Return how many bytes a search will need at most, with ``concurrent`` trials at once."""
    config = settings.config
    state = build_learner(config, base.shape).state_dict()
    weights = sum(value.numel() * value.element_size() for value in state.values())
    moments = 2 if config.training.optimiser == "adam" else 1
    last = (1 + moments) * weights
    curve = settings.steps * (weights + BYTES_PER_TEST * config.evaluation.validation_tasks)
    each = BYTES_PER_TEST * config.evaluation.test_tasks + SMALL_FILES + weights + last
    each += curve if config.evaluation.novel_curve else 0
    return (
        (settings.trials + len(settings.references)) * each
        + (min(concurrent, settings.trials) + 1) * (weights + last)
        + SPARE
    )


def check_room(output: Path, needed: int) -> None:
    """Refuse a search that could not end for want of room.

    Args:
        output: where it is to go.
        needed: bytes.

    Raises:
        ConfigError: naming what is there and what is needed.
    """
    existing = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    total, _, free = shutil.disk_usage(existing)
    if total and free < needed:  # what is no disk has no size
        raise ConfigError(
            f"`--output` {output} has {format_size(free)} free and this search needs up to {format_size(needed)}; free space, "
            "choose another folder, or lower --trials."
        )
