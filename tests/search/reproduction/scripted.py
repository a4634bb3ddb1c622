"""Reproductions as their folders show them, written without training anything."""

import time

import numpy as np

from datg.data import search_spaces
from datg.data.catalog import open_dataset
from datg.search.prepare import _settings
from datg.search.reproduction.folder import ReproductionResults, unit_folder
from datg.search.reproduction.paper import TARGETS
from datg.search.reproduction.plan import Wanted
from datg.search.reproduction.prepare import make_reproduction, request_for
from datg.search.space import with_params
from datg.search.state.folder import SearchFolder
from datg.storage.files import write_yaml
from datg.trial.accuracies import Evaluation
from datg.trial.folder import EVALUATION, PROGRESS, report_lines, weights_at
from datg.trial.records import TrialOutcome, write_outcome
from tests.faults.test_damage import request_for as general_request
from tests.search.study.test_driver import progress_of

NOISE = np.random.default_rng(5).normal(0, 0.1, 300).astype(np.float32)


def wanted(*targets, datasets=("glyphs",), **more):
    more = {"learners": ("protonet",), "shots": (1,), **more}
    return Wanted(targets=targets or TARGETS, datasets=datasets, **more)


def write_reproduction_folder(place, data_root, what, accuracy, *, seeds=3, quick=False, missing=None, given=()):
    """A reproduction whose trainings have ended with the accuracies that ``accuracy(unit, strategy, seed)`` says; None: not run.

    Validation is best at iteration 20 of 40; a curve falls by what ``accuracy`` lies above 0.5 from there on.
    """
    root = data_root
    datasets = {name: open_dataset(name, root) for name in what.datasets if (root / name).exists()}
    reproduction = make_reproduction(
        what,
        datasets,
        missing or {},
        seeds=seeds,
        quick=quick,
        given=list(given),
        asked={"set": None, "final-episodes": None},
        spaces=search_spaces(),
        root=root,
        called_by="datg reproduce all",
    )
    place.mkdir(parents=True)
    folder = SearchFolder(place)
    reproduction.save(folder)
    general = general_request(
        place.parent,
        root,
        dataset=None,
        settings=list(given),
        flags={"training.iterations": 40, "training.eval_every": 10},
    )
    for unit in reproduction.units:
        _write_unit(folder, unit, reproduction, general, accuracy)
    return ReproductionResults(folder, reproduction)


def _write_unit(folder, unit, reproduction, general, accuracy):
    settings, _, _ = _settings(request_for(unit, reproduction, folder, general))
    told = [accuracy(unit, one["strategy"]["name"], one["seed"]) for one in settings.grid]
    if all(one is None for one in told):
        return
    comparison = unit_folder(folder, unit)
    comparison.path.mkdir()
    settings.save(comparison)
    for number, (setting, value) in enumerate(zip(settings.grid, told, strict=True)):
        if value is None:
            continue
        path = comparison.trial(number)
        path.mkdir(parents=True)
        write_yaml(path / "config.yaml", with_params(settings.config, setting).to_dict())
        reports = [
            vars(progress_of(10 * step, value)) | {"best_iteration": min(20, 10 * step), "seconds": 30.0 * step}
            for step in range(1, 5)
        ]
        (path / PROGRESS).write_text(report_lines(reports))
        Evaluation(np.float32(value) + NOISE).save(path / EVALUATION, {})
        write_outcome(path, TrialOutcome("finished", "", time.time()))
        if unit.novel_curve:
            for step in range(1, 5):
                fall = max(0.0, value - 0.5) * max(0, step - 2)
                scores = weights_at(path, 10 * step).with_suffix(".parquet")
                scores.parent.mkdir(exist_ok=True)
                Evaluation(np.float32(value - fall) + NOISE[:50]).save(scores, {})
