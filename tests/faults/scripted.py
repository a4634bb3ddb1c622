"""A search without Ray: trials whose results follow from their configuration, and a fixed order in which they arrive."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from unittest import mock

from optuna.storages import RDBStorage

from datg.files import read_yaml, write_text
from datg.search.driver import SearchDriver
from datg.search.study import open_study, sqlite_url
from datg.trial import PROGRESS, Progress, progress_lines, read_progress

WRITES = (
    "create_new_trial",
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
    url = sqlite_url(folder.study)
    study = open_study(url, settings.id, create=create, pruner=settings.pruner, steps=settings.steps)
    return SearchDriver(folder, settings, study)


def score(config, iteration: int, iterations: int) -> float:
    """Best at alpha = 1; grows with the iterations, by a rate that beta decides."""
    strategy = config["strategy"]
    return (iteration / iterations) ** (0.2 * strategy["beta"]) / (1 + abs(strategy["alpha"] - 1))


def validate(folder, number: int, every: int, iterations: int) -> Progress:
    """What a worker does: one more validation, saved before it is reported."""
    place = folder.trial(number)
    history = read_progress(place)
    iteration = len(history) * every + every
    value = score(read_yaml(place / "config.yaml"), iteration, iterations)
    history.append(Progress(iteration, 1.0, 1.0, {"loss": 1.0, "ce": 1.0}, value, 0.01, value, 0.01, iteration))
    write_text(place / PROGRESS, progress_lines([asdict(entry) for entry in history]))
    return history[-1]


def run(driver: SearchDriver, *, events: int | None = None) -> None:
    """Runs trials to the end, or for ``events`` validations: always the trial with the fewest, then the lowest number."""
    folder, training = driver.folder, driver.config.training
    running: list[int] = []

    def hear(number: int, progress: Progress) -> None:
        if driver.report(number, progress) or progress.iteration == training.iterations:
            running.remove(number)
            driver.finish(number, "finished")

    while events is None or events > 0:
        while len(running) < AT_ONCE and (number := driver.next_trial()) is not None:
            running.append(number)
            for progress in read_progress(folder.trial(number))[-1:]:
                hear(number, progress)
        if not running:
            return
        number = min(running, key=lambda n: (len(read_progress(folder.trial(n))), n))
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
                "rungs": {
                    key: value for key, value in sorted(trial.system_attrs.items()) if key.startswith("completed")
                },
                "outcome": trial.user_attrs.get("outcome"),
            }
        )
        for trial in driver.study.get_trials()
    ]
