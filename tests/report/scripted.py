"""Searches as their folders show them, written without training anything."""

import time
from pathlib import Path

import numpy as np
import optuna

from datg.search.settings import SearchSettings
from datg.search.space import suggest, with_params
from datg.search.state.folder import SearchFolder
from datg.storage.files import write_yaml
from datg.trial.accuracies import Evaluation
from datg.trial.folder import BEST_VALIDATION, EVALUATION, FRESH_VALIDATION, PROGRESS, report_lines
from datg.trial.records import TrialOutcome, write_outcome
from tests.search.study.test_driver import progress_of

TASKS = np.random.default_rng(7).normal(0, 0.1, 400).astype(np.float32)
STEPS = 4


def write_search(place: Path, settings: SearchSettings, outcomes: list[str]) -> SearchFolder:
    """A search whose trials ended so (`` `` still runs, without a validation); accuracy grows with the number of clusters."""
    place.mkdir(parents=True)
    folder = SearchFolder(place)
    settings.model_copy(update={"trials": max(1, len(outcomes))}).save(folder)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    began = time.time() - 3600
    for number, outcome in enumerate(outcomes):
        trial = study.ask()
        suggest(trial, settings.ranges, settings.bounds)
        path = folder.trial(number)
        path.mkdir(parents=True)
        write_yaml(path / "config.yaml", with_params(settings.config, trial.params).to_dict())
        if outcome == " ":
            continue
        _write_trial(path, trial, number, outcome, began + 60 * number)
    if "finished" in outcomes:
        best = max(range(len(outcomes)), key=lambda n: _worth(study.trials[n].params) * (outcomes[n] == "finished"))
        Evaluation(0.4 + TASKS).save(folder.trial(best) / FRESH_VALIDATION, {})
    return folder


def _worth(params: dict) -> float:
    return 0.3 + 0.03 * params.get("strategy.clusters", 0)


def _write_trial(path: Path, trial: optuna.Trial, number: int, outcome: str, began: float) -> None:
    worth = _worth(trial.params)
    if outcome in ("finished", "collapsed", "pruned"):
        done = STEPS if outcome != "pruned" else 1
        reports = [
            vars(progress_of(10 * step, worth - 0.05 * (STEPS - step)))
            | {"time": began + 10 * step, "seconds": 10.0 * step, "ci95": 0.01, "objective_ci95": 0.01}
            for step in range(1, done + 1)
        ]
        (path / PROGRESS).write_text(report_lines(reports))
        Evaluation(np.float32(reports[-1]["objective"]) + TASKS).save(path / BEST_VALIDATION, {})
        Evaluation(np.float32(worth - 0.02) + TASKS).save(path / EVALUATION, {})
    error = "" if outcome in ("finished", "collapsed", "pruned") else "its machine broke"
    write_outcome(path, TrialOutcome(outcome, error, began + 10 * STEPS))
