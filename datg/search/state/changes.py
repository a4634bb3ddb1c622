"""Resuming a search: its folder and study are checked, and changes since it began are found."""

import datetime
from typing import Any

from datg.config import USER_SOURCES, Layers, flatten, parse_settings
from datg.data.catalog import Dataset, data_root, open_dataset
from datg.data.dataset_yaml import add_dataset_yaml, read_dataset_yaml
from datg.errors import ConfigError, StateError
from datg.search.references import references_of
from datg.search.request import Request
from datg.search.resolve import requested_data, resolve_settings
from datg.search.settings import SearchSettings, shortened
from datg.search.space import Space
from datg.search.study.stored import StoredStudy
from datg.search.versions import versions
from datg.trial.config import PRESETS
from datg.trial.data import open_data, provenance_of

_NOT_GIVEN = "not given"
TASKS = ("task.", "evaluation.seed", "evaluation.validation_tasks")  # what decides them
_Found = tuple[SearchSettings, Dataset]


def requested_settings(request: Request, saved: SearchSettings) -> _Found:
    """Return what the search would do from now on: as saved, with what the user says now, on the data and code that are here.

    Raises:
        ConfigError: that cannot be run.
        DataError: the data set is missing or does not suffice.
    """
    root = data_root(request.data_root, saved=saved.data_root)
    changed = request.settings or request.space_file or request.dataset or set(request.flags) - {"search.trials"}
    if saved.comparison and (changed or "search.trials" in request.flags):
        raise ConfigError(f"this search is one of {saved.comparison}, whose searches are alike; resume it unchanged.")
    if changed and saved.grid:
        raise ConfigError("the trials of a comparison stand in a grid, which cannot change; start a new one.")
    config = saved.config
    if not changed:
        dataset = open_data(config, root)
        now = {"provenance": provenance_of(dataset), "versions": versions(), "data_root": str(root)}
        return _as_many(request, saved.model_copy(update=now), saved), dataset
    if "search.trials" in parse_settings(request.settings):
        raise ConfigError("`search.trials` of a search that has begun is given with --trials, not with --set.")
    layers, space = _layers(request, saved)
    dataset = requested_data(open_dataset(request.dataset or config.dataset, root), layers, root)
    wanted = resolve_settings(dataset, layers, space, root=root, external_study=saved.external_study)
    same_strategy = wanted.config.strategy_name == saved.config.strategy_name
    if request.space_file is None and same_strategy:
        kept = {key: entry for key, entry in saved.space.items() if layers.sources.get(key) not in USER_SOURCES}
        wanted = wanted.model_copy(update={"space": kept})
    unchanged = {
        key: getattr(saved, key)
        for key in ("id", "study", "comparison", "changes", "trials", "command", "origins", "warm_start")
    }
    return _as_many(request, wanted.model_copy(update=unchanged), saved), dataset


def check_asked(request: Request, saved: SearchSettings) -> None:
    """Refuse to resume a comparison whose name was begun with other values.

    Raises:
        ConfigError: naming each difference.
    """
    began, now = flatten(saved.asked), flatten(request.asked())
    differing = [key for key in {**began, **now} if began.get(key, _NOT_GIVEN) != now.get(key, _NOT_GIVEN)]
    if differing:
        lines = (
            f"  {key}: {' -> '.join(shortened(asked.get(key, _NOT_GIVEN)) for asked in (began, now))}"
            for key in differing
        )
        raise ConfigError(
            "\n".join(
                [
                    f"`--name` {request.name} has begun as another comparison, and a comparison cannot change:",
                    *lines,
                    "use the old values, or start anew under another name.",
                ]
            )
        )


def _layers(request: Request, saved: SearchSettings) -> tuple[Layers, Any]:
    layers = Layers(PRESETS, "training.preset")
    layers.add({key: value for key, value in saved.config.to_dict().items() if key != "seed"}, "search.yaml")
    layers.add({"search": {key: getattr(saved, key) for key in ("sampler", "pruner", "seed")}}, "search.yaml")
    space = None
    if request.space_file is not None:
        space = add_dataset_yaml(layers, read_dataset_yaml(request.space_file))
    layers.add(parse_settings(request.settings), "--set")
    layers.add(request.flags, "flag")
    return layers, space


def _as_many(request: Request, settings: SearchSettings, saved: SearchSettings) -> SearchSettings:
    """Return settings with as many trials as are wanted now, and with references or without."""
    trials = request.flags.get("search.trials", settings.trials)
    if trials < settings.trials:
        raise ConfigError(
            f"`--trials` must be at least {settings.trials}, as many as are already asked for, got {trials}."
        )
    measured = bool(saved.references) if request.references is None else request.references
    return settings.model_copy(update={"trials": trials, "references": references_of(settings) if measured else {}})


def reconcile_settings(
    saved: SearchSettings, wanted: SearchSettings, stored: StoredStudy, *, allowed: bool, asked: bool
) -> tuple[SearchSettings, list[str]]:
    """Return what the search goes on with, and the differences to what it began with.

    Args:
        saved: what its folder says.
        wanted: see :func:`requested_settings`.
        stored: the study; it remembers what the folder said when the search began or was last changed.
        allowed: whether differences are accepted.
        asked: whether the user gave flags that change something.

    Raises:
        ConfigError: the differences come from flags, and were not allowed; or no study could hold both.
        StateError: they come from elsewhere, and were not allowed.
    """
    began = saved if stored.settings is None else SearchSettings.from_remembered(stored.settings)
    differences = began.differences(wanted)
    if not differences:
        return wanted, []
    if not allowed:
        lines = [
            "this search has begun with other settings, data or code:",
            *(f"  {line}" for line in differences),
        ]
        lines.append("undo the changes, start a new search, or accept them with --allow-change.")
        raise (ConfigError if asked else StateError)("\n".join(lines))
    check_change(began, wanted, trials=len(stored.trials()))
    change = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "trials before": len(stored.trials()),
        "differences": differences,
    }
    return wanted.model_copy(update={"changes": [*saved.changes, change]}), differences


def check_change(began: SearchSettings, wanted: SearchSettings, *, trials: int) -> None:
    """Refuse what no permission makes possible, because one study cannot hold it.

    Args:
        began: what the search began with.
        wanted: what it is to go on with.
        trials: how many it has.

    Raises:
        ConfigError: a key is of another kind or has other choices, or trials would be validated on other tasks.
    """
    _check_compatible(began.ranges, wanted.ranges)
    if trials:
        _check_comparable(began, wanted)


def _check_comparable(began: SearchSettings, wanted: SearchSettings) -> None:
    """Refuse other validation tasks: the sampler and the choice of the best would take accuracies on both for alike."""
    before, now = flatten(began.config.to_dict()), flatten(wanted.config.to_dict())
    changed = [
        f"{key}: {before.get(key)} -> {value}"
        for key, value in now.items()
        if key.startswith(TASKS) and before.get(key) != value
    ]
    if changed:
        raise ConfigError(
            f"trials before and after would be validated on other tasks ({'; '.join(changed)}), and one study cannot compare "
            "them: start a new search."
        )


def _check_compatible(old: Space, new: Space) -> None:
    """Refuse another kind of a key, or other choices: a study keeps them."""
    before = {entry.key: entry for entry in old}
    for entry in new:
        previous = before.get(entry.key, entry)
        if previous.kind != entry.kind or (entry.kind == "choice" and previous.values != entry.values):
            raise ConfigError(
                f"`space.{entry.key}` was {{{previous.kind}: {list(previous.values)}}} when the search began; a study can "
                "change the bounds of a range, but not its kind or its choices: start a new search."
            )
