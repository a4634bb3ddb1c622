"""Trials of another search as the first knowledge of a sampler.

They are copied into the folder of the new search, and stand in its study in memory alone: they are never shown, chosen,
exported or counted. Only finished trials with the same searched keys inside the new ranges are taken.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from datg.config import flatten
from datg.errors import ConfigError, StateError
from datg.search.settings import SearchSettings, shortened
from datg.search.space import contains
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.storage.files import write_json
from datg.trial.records import DONE

LEARNING_SAMPLERS = ("tpe", "gp")


@dataclass(frozen=True)
class Knowledge:
    """Hold finished trials of another search.

    Attributes:
        search: its name.
        remark: what the user should know.
        params: of each trial, by dotted key.
        values: best validation accuracy of each.
    """

    search: str
    remark: str
    params: list[dict[str, Any]]
    values: list[float]


def gather(source: SearchFolder, settings: SearchSettings) -> Knowledge:
    """Return what a search with ``settings`` can learn from the one in ``source``.

    Raises:
        ConfigError: nothing: it is a comparison, over other keys, of other tasks, without a finished trial inside the ranges, or
            the sampler does not learn.
    """
    name = source.name
    other = SearchSettings.load(source)
    if settings.sampler not in LEARNING_SAMPLERS:
        raise ConfigError(
            f"`--warm-start` needs a sampler that learns ({' or '.join(LEARNING_SAMPLERS)}), got {settings.sampler}; choose one "
            "with --sampler, or leave --warm-start out."
        )
    if settings.grid or other.grid:
        raise ConfigError("`--warm-start` is for searches; a comparison has a grid, and learns nothing: name a search.")
    only = {"there": set(other.space) - set(settings.space), "here": set(settings.space) - set(other.space)}
    if any(only.values()):
        told = "; ".join(f"only {where} {', '.join(sorted(keys))}" for where, keys in only.items() if keys)
        raise ConfigError(
            f"`--warm-start` {name} searches other keys than this search would ({told}); give the same --space and --set to "
            "both, or leave it out."
        )
    tasks = [str(search.config.task) for search in (other, settings)]
    if tasks[0] != tasks[1]:
        raise ConfigError(
            f"`--warm-start` {name} measures accuracy on tasks of {tasks[0]}, not of {tasks[1]}; give the same `task`, or leave "
            "it out."
        )
    finished = [
        (record.searched, record.objective)
        for record in RecordReader(source, other).records()
        if record.state == DONE and record.objective is not None
    ]
    inside = [
        (params, value)
        for params, value in finished
        if None not in params.values() and contains(settings.ranges, params, settings.bounds)
    ]
    if not inside:
        raise ConfigError(
            f"`--warm-start` {name} has no finished trial inside the ranges of this search ({len(finished)} finished); widen "
            "the ranges of this one, or leave it out."
        )
    left_out = f", {len(finished) - len(inside)} others lie outside its ranges" if len(inside) < len(finished) else ""
    remark = f"the sampler knows {len(inside)} trials of {name}{left_out}{_differences(other, settings)}"
    return Knowledge(name, remark, [params for params, _ in inside], [value for _, value in inside])


def _differences(other: SearchSettings, settings: SearchSettings) -> str:
    """Return in what else the trials of two searches differ, since their accuracies may then not be alike."""
    before, now = (
        {**flatten(one.config.to_dict()), "data": one.provenance["fingerprint"][:12]} for one in (other, settings)
    )
    keys = [key for key in {**before, **now} if key not in settings.space and before.get(key) != now.get(key)]
    told = [f"{key} {shortened(before.get(key))}, here {shortened(now.get(key))}" for key in keys if key != "seed"]
    return f"; their accuracies are of other trainings: {'; '.join(told)}" if told else ""


def save(folder: SearchFolder, knowledge: Knowledge) -> None:
    """Keep what was gathered in a search's folder."""
    write_json(folder.warm_start, asdict(knowledge))


def load(folder: SearchFolder) -> Knowledge:
    """Read what :func:`save` wrote.

    Raises:
        StateError: it is missing or damaged.
    """
    try:
        return Knowledge(**json.loads(folder.warm_start.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StateError(
            f"{folder.warm_start}, which the sampler was given to begin with, cannot be read ({error}); restore it from a copy."
        ) from error
