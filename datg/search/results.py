"""What a search found: records of its trials from the study and their folders, and the leaderboard."""

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from datg.config import flatten
from datg.errors import ConfigError
from datg.files import read_yaml
from datg.records import DONE, FAILED, PRUNED, RUNNING, Note, TrialRecord, ranked, read_note, read_record
from datg.search.driver import FAILURES, SUCCESSES, outcome_of
from datg.search.folder import SearchFolder, find_folder
from datg.search.settings import SearchSettings
from datg.search.study import open_study, sqlite_url
from datg.tracking.view import Parent
from datg.trial import CONFIG
from datg.trial_config import TrialConfig

_STATES = {
    TrialState.RUNNING: RUNNING,
    TrialState.COMPLETE: DONE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
}


def open_records(
    output: Path, search: str, storage: str | None = None
) -> tuple[SearchFolder, SearchSettings, list[TrialRecord]]:
    """Opens a search to read it, by name below ``output`` or by path.

    Raises:
        ConfigError: there is no such search.
        StateError: it is damaged.
    """
    folder = find_folder(output, search)
    settings = SearchSettings.load(folder)
    if storage is None and settings.external_study:
        raise ConfigError(
            f"the study of {folder.name} is in a database; name it with --study-storage or DATG_STUDY_STORAGE."
        )
    study = open_study(storage or sqlite_url(folder.study), settings.study)
    return folder, settings, read_records(folder, settings, study)


def read_records(folder: SearchFolder, settings: SearchSettings, study: optuna.Study) -> list[TrialRecord]:
    """The trials of a search so far, by number."""
    tags = context_tags(settings.trial_config, folder.name)
    trials = study.get_trials(deepcopy=False)
    return [_record(folder, settings, trial, tags) for trial in trials if trial.state in _STATES]


def folder_records(folder: SearchFolder, settings: SearchSettings) -> list[TrialRecord]:
    """The trials begun so far, from their folders alone."""
    numbers = sorted(int(path.name) for path in (folder.path / "trials").glob("*") if path.name.isdigit())
    return [_folder_record(number, folder.trial(number), settings) for number in numbers]


def _folder_record(number: int, place: Path, settings: SearchSettings) -> TrialRecord:
    note = read_note(place) or Note("")
    outcome = note.outcome
    state = RUNNING if not outcome else DONE if outcome in SUCCESSES else FAILED if outcome in FAILURES else PRUNED
    return read_record(number, state, outcome, place, searched=_searched(place, settings), tags={}, error=note.error)


def _searched(place: Path, settings: SearchSettings) -> dict[str, Any]:
    try:
        values = flatten(read_yaml(place / CONFIG))
    except ConfigError:
        return {}
    return {key: values.get(key) for key in settings.space}


def context_tags(config: TrialConfig, search: str) -> dict[str, str]:
    """What every run of a search repeats, because MLflow filters see one run at a time."""
    other = config.evaluation.test_dataset
    return ({} if other is None else {"test_dataset": other}) | {
        "dataset": config.dataset,
        "learner": config.learner_name,
        "strategy": config.strategy_name,
        "way": str(config.task.ways),
        "shot": str(config.task.shots),
        "seed": str(config.seed),
        "search": search,
    }


def _record(folder: SearchFolder, settings: SearchSettings, trial: FrozenTrial, tags: dict[str, str]) -> TrialRecord:
    searched = settings.searched(trial.number, dict(trial.params))
    own_tags = {key: str(value) for key, value in searched.items() if key in tags}
    ended = trial.state.is_finished()
    outcome = outcome_of(trial) if ended else ""
    return read_record(
        trial.number,
        FAILED if outcome in ("diverged", "error") else _STATES[trial.state],
        outcome,
        folder.trial(trial.number),
        searched=searched,
        tags={**tags, **own_tags, "trial": str(trial.number)},
        error=str(trial.user_attrs.get("error", "")),
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )


def parent_run(folder: SearchFolder, settings: SearchSettings) -> Parent:
    """The MLflow run above the trials of a search."""
    config = settings.trial_config
    # What the trials of a comparison do not have in common is no tag of the run above them.
    own = {"search"} | ({"learner", "strategy", "seed"} if settings.grid else set())
    kind = {"kind": "comparison"} if settings.grid else {}
    names = ("trials",) if settings.grid else ("trials", "sampler", "pruner", "seed")
    return Parent(
        name=folder.name,
        experiment=f"datg/{config.dataset}",
        tags={key: value for key, value in context_tags(config, folder.name).items() if key not in own} | kind,
        params={name: getattr(settings, name) for name in names},
        artifacts=[folder.settings, folder.best, folder.comparison("md"), folder.comparison("csv")],
        id=settings.id,
        runs_file=folder.mlflow,
    )


def leaderboard(records: list[TrialRecord]) -> list[dict[str, Any]]:
    """One row a trial, best validation first, then those without a score."""
    order = ranked(records)
    return [_row(record) for record in [*order, *(record for record in records if record not in order)]]


def _row(record: TrialRecord) -> dict[str, Any]:
    return {"trial": record.number, **score_row(record), **record.searched}


def score_row(record: TrialRecord) -> dict[str, Any]:
    """Outcome and scores of a trial, for a table."""
    last, test = record.last, record.test
    return {
        "outcome": record.outcome or record.state,
        "validation": None if last is None else last.objective,
        "validation ci95": None if last is None else last.objective_ci95,
        "test": None if test is None else test.accuracy,
        "test ci95": None if test is None else test.ci95,
        "episodes": None if test is None else test.episodes,
        "iterations": 0 if last is None else last.iteration,
    }
