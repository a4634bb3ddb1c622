"""What a driver needs for each report in a large search, how large its study becomes, and how long a resume of it takes.

    python -m benchmarks.driver_speed                              # 1,000 trials x 30 reports with 8, 64 and 256 at once: minutes
    python -m benchmarks.driver_speed --trials 100 --at-once 8

Trials are scripted: their results follow from their configuration, and nothing is trained. Pruning is on, but none follows, so
that every trial makes all of its reports. Deciding is what a trial waits for: its file is read and the pruner asked. Writing
happens behind; it is two commits of the database, whose time on this disk is shown beside.
"""

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import typer

from datg.cli.main import run_command
from datg.cli.options import DataRoot
from datg.config import Layers
from datg.data.catalog import Dataset, open_dataset
from datg.data.catalog import data_root as find_root
from datg.data.dataset_yaml import add_dataset_yaml, read_dataset_yaml
from datg.search.resolve import resolve_settings
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.search.state.repair import repair
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import StoredStudy, open_study, sqlite_url
from datg.storage.files import read_yaml, write_text
from datg.trial.config import PRESETS
from datg.trial.folder import PROGRESS, ValidationReport, report_lines

SPACES = Path(__file__).resolve().parent.parent / "search_spaces"
COMMITS = 200  # bare ones, for comparison


@dataclass
class Spent:
    """Hold the seconds that the driver needed, one entry per call."""

    suggest: list[float] = field(default_factory=list)
    decide: list[float] = field(default_factory=list)
    write: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)


def main(
    trials: Annotated[int, typer.Option(min=1, help="Trials.")] = 1000,
    reports: Annotated[int, typer.Option(min=1, help="Validations a trial.")] = 30,
    at_once: Annotated[list[int] | None, typer.Option(min=1, help="Trials at once.", show_default="8, 64, 256")] = None,
    data_root: DataRoot = None,
) -> None:
    """Measure the driver."""
    root = find_root(data_root)
    dataset = open_dataset("glyphs", root)
    settings = scripted_settings(dataset, root, trials, reports)
    for number in at_once or (8, 64, 256):
        print(json.dumps(measure(settings, reports, number), indent=1), flush=True)


def measure(settings: SearchSettings, reports: int, at_once: int) -> dict[str, Any]:
    """Run a scripted search with ``at_once`` trials at a time and take it up again."""
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder = SearchFolder(Path(temporary).absolute())
        driver = SearchDriver(folder, settings, open_study(sqlite_url(folder.study), settings.study, create=True))
        with timed_writes() as writes:
            spent = _run(driver, reports, at_once)
        driver.close()
        spent.write = writes
        size, commit = folder.study.stat().st_size, bare_commit(folder.path / "commits.db")
        began = time.perf_counter()
        stored = open_study(sqlite_url(folder.study), settings.study)
        repair(folder, stored.trials())
        SearchDriver(folder, settings, stored).close()
        resume = time.perf_counter() - began
    return {
        "trials": settings.trials,
        "at once": at_once,
        "reports": len(spent.decide),
        "deciding a report, median ms": _milliseconds(spent.decide),
        "deciding, 99th percentile ms": round(1000 * statistics.quantiles(spent.decide, n=100)[98], 2),
        "deciding, last tenth ms": _milliseconds(spent.decide[-len(spent.decide) // 10 :]),
        "writing a report, median ms": _milliseconds(spent.write),
        "a bare commit, median ms": _milliseconds(commit),
        "suggestion, median ms": _milliseconds(spent.suggest),
        "end, median ms": _milliseconds(spent.end),
        "study MB": round(size / 1e6, 1),
        "resume s": round(resume, 1),
    }


def _milliseconds(seconds: list[float]) -> float:
    return round(1000 * statistics.median(seconds), 2)


@contextmanager
def timed_writes() -> Iterator[list[float]]:
    """Yield the seconds of each report that is written while the block runs."""
    spent: list[float] = []
    write = StoredStudy.record_report

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        write(*arguments)
        spent.append(time.perf_counter() - began)

    with mock.patch.object(StoredStudy, "record_report", timed):
        yield spent


def bare_commit(file: Path) -> list[float]:
    """Return the seconds of each of :data:`COMMITS` commits of one row to an empty sqlite database."""
    spent = []
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE rows (value REAL)")
        for number in range(COMMITS):
            began = time.perf_counter()
            with connection:
                connection.execute("INSERT INTO rows VALUES (?)", (number,))
            spent.append(time.perf_counter() - began)
    return spent


def scripted_settings(dataset: Dataset, root: Path, trials: int, reports: int) -> SearchSettings:
    """Return the settings of a search of ``trials`` trials with ``reports`` validations each."""
    layers = Layers(PRESETS, "training.preset")
    space = add_dataset_yaml(layers, read_dataset_yaml(SPACES / "glyphs.yaml"))
    layers.add({"training": {"iterations": 10 * reports, "eval_every": 10}, "search": {"trials": trials}}, "flag")
    settings = resolve_settings(dataset, layers, space, root=root, external_study=False)
    return settings.model_copy(update={"study": "benchmark"})


def _run(driver: SearchDriver, reports: int, at_once: int) -> Spent:
    """Run all trials, each report written before the next is decided on, so that the two are measured apart."""
    spent = Spent()
    running: dict[int, list[ValidationReport]] = {}
    while True:
        while len(running) < at_once:
            began = time.perf_counter()
            number = driver.next_trial()
            if number is None:
                break
            spent.suggest.append(time.perf_counter() - began)
            running[number] = []
        if not running:
            return spent
        for number, history in list(running.items()):
            history.append(next_progress(driver.folder, number, len(history) + 1, reports))
            save_progress(driver.folder, number, history)
            began = time.perf_counter()
            pruned = driver.report(number)
            spent.decide.append(time.perf_counter() - began)
            driver.flush()
            if pruned or len(history) == reports:
                began = time.perf_counter()
                driver.finish(number, "finished")
                spent.end.append(time.perf_counter() - began)
                del running[number]


def save_progress(folder: SearchFolder, number: int, history: list[ValidationReport]) -> None:
    """Write validations as a trial's process does."""
    write_text(folder.trial(number) / PROGRESS, report_lines([asdict(entry) for entry in history]))


def next_progress(folder: SearchFolder, number: int, step: int, reports: int) -> ValidationReport:
    """Return a validation: every trial is a little better than those before it, so that none is pruned."""
    alpha = read_yaml(folder.trial(number) / "config.yaml")["strategy"]["alpha"] if step == 1 else 0.0
    value = 0.2 + number * 1e-4 + step / reports * 0.1 + alpha * 1e-6
    return ValidationReport(
        10 * step, time.time(), float(step), {"loss": 1.0, "ce": 1.0}, value, 0.01, value, 0.01, 10 * step
    )


if __name__ == "__main__":
    run_command(main)
