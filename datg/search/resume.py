"""Going on with a search: its folder and study are checked, and what has changed since it began is found out."""

import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from datg.config import USER_SOURCES, Layers, parse_settings
from datg.data.catalog import Dataset, open_dataset, with_test_dataset
from datg.errors import ConfigError, StateError
from datg.search.request import Request
from datg.search.settings import SearchSettings, resolve_settings, versions
from datg.search.space import Space
from datg.search.study import SETTINGS
from datg.space_file import add_space_file, read_space_file
from datg.trial import provenance_of
from datg.trial_config import PRESETS

_Found = tuple[SearchSettings, Dataset]


def wanted_settings(request: Request, saved: SearchSettings) -> _Found:
    """What the search would do from now on: as saved, with what the user says now, on the data and by the code that are here.

    Raises:
        ConfigError: that cannot be run.
        DataError: the data set is missing or does not suffice.
    """
    root = request.data_root or Path(saved.data_root)
    changed = request.settings or request.space_file or request.dataset or set(request.flags) - {"search.trials"}
    if changed and saved.grid:
        raise ConfigError("the trials of a comparison stand in a grid, which cannot change; start a new one.")
    config = saved.trial_config
    if not changed:
        dataset = with_test_dataset(open_dataset(config.dataset, root), config.evaluation.test_dataset, root)
        now = {"provenance": provenance_of(dataset), "versions": versions(), "data_root": str(root)}
        return _more_trials(request, saved.model_copy(update=now)), dataset
    layers, space = _layers(request, saved)
    dataset = open_dataset(request.dataset or config.dataset, root)
    dataset = with_test_dataset(dataset, layers.values.get("evaluation.test_dataset"), root)
    wanted = resolve_settings(dataset, layers, space, root=root, external_study=saved.external_study)
    same_strategy = wanted.config["strategy"]["name"] == saved.config["strategy"]["name"]
    if request.space_file is None and same_strategy:
        kept = {key: entry for key, entry in saved.space.items() if layers.sources.get(key) not in USER_SOURCES}
        wanted = wanted.model_copy(update={"space": kept})
    own = {key: getattr(saved, key) for key in ("id", "study", "changes", "trials")}
    return _more_trials(request, wanted.model_copy(update=own)), dataset


def _layers(request: Request, saved: SearchSettings) -> tuple[Layers, Any]:
    layers = Layers(PRESETS, "training.preset")
    layers.add({key: value for key, value in saved.config.items() if key != "seed"}, "search.yaml")
    layers.add({"search": {key: getattr(saved, key) for key in ("sampler", "pruner", "seed")}}, "search.yaml")
    space = None
    if request.space_file is not None:
        space = add_space_file(layers, read_space_file(request.space_file))
    layers.add(parse_settings(request.settings), "--set")
    layers.add(request.flags, "flag")
    return layers, space


def _more_trials(request: Request, settings: SearchSettings) -> SearchSettings:
    trials = request.flags.get("search.trials", settings.trials)
    if trials < settings.trials:
        raise ConfigError(
            f"`--trials` must be at least {settings.trials}, as many as are already asked for, got {trials}."
        )
    return settings.model_copy(update={"trials": trials})


def agree(
    saved: SearchSettings, wanted: SearchSettings, study: optuna.Study, *, allowed: bool, asked: bool
) -> tuple[SearchSettings, list[str]]:
    """What the search goes on with, and the differences to what it began with.

    Args:
        saved: what its folder says.
        wanted: see :func:`wanted_settings`.
        study: it remembers what the folder said when the search began or was last changed.
        allowed: whether differences are accepted.
        asked: whether the user gave flags that change something.

    Raises:
        ConfigError: the differences come from flags, and were not allowed; or no study could hold both.
        StateError: they come from elsewhere, and were not allowed.
    """
    remembered = study.user_attrs.get(SETTINGS)
    began = saved if remembered is None else SearchSettings.model_validate(remembered)
    differences = began.differences(wanted)
    if not differences:
        return wanted, []
    if not allowed:
        lines = [
            f"{study.study_name} has begun with other settings, data or code:",
            *(f"  {line}" for line in differences),
        ]
        lines.append("go back to those, start a new search, or accept the change with --allow-change.")
        raise (ConfigError if asked else StateError)("\n".join(lines))
    _check_compatible(began.ranges, wanted.ranges)
    change = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "trials before": len(study.get_trials(deepcopy=False)),
        "differences": differences,
    }
    return wanted.model_copy(update={"changes": [*saved.changes, change]}), differences


def _check_compatible(old: Space, new: Space) -> None:
    """A study keeps the kind of each key, and all choices of a choice."""
    before = {entry.key: entry for entry in old}
    for entry in new:
        known = before.get(entry.key, entry)
        if known.kind != entry.kind or (entry.kind == "choice" and known.values != entry.values):
            raise ConfigError(
                f"`space.{entry.key}` was {{{known.kind}: {list(known.values)}}} when the search began; a study can "
                "change the bounds of a range, but not its kind or its choices: start a new search."
            )


def end_what_was_running(study: optuna.Study) -> list[int]:
    """After a change of configuration or data, half-done trials cannot go on: they are told as failed."""
    running = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
    for trial in running:
        storage: Any = study._storage
        storage.set_trial_user_attr(trial._trial_id, "outcome", "failed")
        storage.set_trial_user_attr(trial._trial_id, "error", "the search was changed while this trial ran")
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    return [trial.number for trial in running]
