"""A search without Ray: trials whose results follow from their configuration, and a fixed order in which they arrive."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from unittest import mock

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from datg.search.study.driver import SearchDriver
from datg.search.study.stored import open_study, pruning_state, sqlite_url
from datg.storage.files import read_yaml, write_text
from datg.trial.folder import PROGRESS, ValidationReport, read_reports, report_lines

WRITES = (
    "_create_new_trial",
    "set_study_user_attr",
    "set_study_system_attr",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
)
AT_ONCE = 4


class Crash(BaseException):
    """The driver is gone."""


@contextmanager
def crash_at(write: int) -> Iterator[list[str]]:
    """The study's ``write``-th write, counted from 1, is the driver's last; every second one is not even made."""
    made: list[str] = []

    def breaking(name, method):
        def call(self, *arguments, **options):
            made.append(name)
            if len(made) == write and write % 2:
                raise Crash
            result = method(self, *arguments, **options)
            if len(made) == write:
                raise Crash
            return result

        return call

    with mock.patch.multiple(RDBStorage, **{name: breaking(name, getattr(RDBStorage, name)) for name in WRITES}):
        yield made


def drive(folder, settings) -> SearchDriver:
    """The driver of a search, new or taken up."""
    create = not folder.study.exists()
    return SearchDriver(folder, settings, open_study(sqlite_url(folder.study), settings.id, create=create))


def stored_trials(driver: SearchDriver) -> list[FrozenTrial]:
    """What the database holds, read anew."""
    driver.flush()
    (summary,) = optuna.get_all_study_summaries(sqlite_url(driver.folder.study))
    return open_study(sqlite_url(driver.folder.study), summary.study_name).trials()


def score(config, iteration: int, iterations: int) -> float:
    """Best at alpha = 1; grows with the iterations, by a rate that beta decides."""
    strategy = config["strategy"]
    return (iteration / iterations) ** (0.2 * strategy["beta"]) / (1 + abs(strategy["alpha"] - 1))


def validate(folder, number: int, every: int, iterations: int) -> ValidationReport:
    """What a worker does: one more validation, saved before it is reported."""
    place = folder.trial(number)
    history = read_reports(place)
    iteration = len(history) * every + every
    value = score(read_yaml(place / "config.yaml"), iteration, iterations)
    history.append(
        ValidationReport(iteration, time.time(), 1.0, {"loss": 1.0, "ce": 1.0}, value, 0.01, value, 0.01, iteration)
    )
    write_text(place / PROGRESS, report_lines([asdict(entry) for entry in history]))
    return history[-1]


def save_progress(driver: SearchDriver, number: int, *entries: ValidationReport) -> None:
    """Adds validations to a trial's file, as its process does before it reports."""
    place = driver.folder.trial(number)
    lines = report_lines([asdict(entry) for entry in [*read_reports(place), *entries]])
    write_text(place / PROGRESS, lines)


def run(driver: SearchDriver, *, events: int | None = None) -> None:
    """Runs trials to the end, or for ``events`` validations: always the trial with the fewest, then the lowest number."""
    folder, training = driver.folder, driver.config.training
    running: list[int] = []

    def hear(number: int, progress: ValidationReport) -> None:
        if driver.report(number) or progress.iteration == training.iterations:
            running.remove(number)
            driver.finish(number, "finished")

    while events is None or events > 0:
        while len(running) < AT_ONCE and (number := driver.next_trial()) is not None:
            running.append(number)
            for progress in read_reports(folder.trial(number))[-1:]:
                hear(number, progress)
        if not running:
            return
        number = min(running, key=lambda n: (len(read_reports(folder.trial(n))), n))
        hear(number, validate(folder, number, training.eval_every, training.iterations))
        events = None if events is None else events - 1


def decisions(driver: SearchDriver) -> list[str]:
    """Everything that was suggested, told and decided, a line a trial."""
    return [
        json.dumps(
            {
                "number": trial.number,
                "params": trial.params,
                "state": trial.state.name,
                "value": trial.value,
                "reports": trial.intermediate_values,
                "rungs": pruning_state(trial).notes,
                "pruned": pruning_state(trial).prune,
                "outcome": trial.user_attrs.get("outcome"),
            }
        )
        for trial in stored_trials(driver)
    ]
