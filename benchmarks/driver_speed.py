"""What a driver needs for each report in a large search, how large its study becomes, and how long a resume of it takes.

    python -m benchmarks.driver_speed                  # 1,000 trials x 30 reports: minutes
    python -m benchmarks.driver_speed --trials 100

Trials are scripted: their results follow from their configuration, and nothing is trained. Pruning is on, but none follows, so
that every trial makes all of its reports.
"""

import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import DataRoot, run_command
from datg.config import Layers
from datg.data.catalog import Dataset, open_dataset
from datg.data.catalog import data_root as find_root
from datg.files import read_yaml, write_text
from datg.search.damage import mend
from datg.search.driver import SearchDriver
from datg.search.folder import SearchFolder
from datg.search.settings import SearchSettings, resolve_settings
from datg.search.study import open_study, sqlite_url
from datg.space_file import add_space_file, read_space_file
from datg.trial import PROGRESS, Progress, progress_lines
from datg.trial_config import PRESETS

SPACES = Path(__file__).resolve().parent.parent / "search_spaces"
AT_ONCE = 8


def main(
    trials: Annotated[int, typer.Option(min=1, help="Trials.")] = 1000,
    reports: Annotated[int, typer.Option(min=1, help="Validations a trial.")] = 30,
    data_root: DataRoot = None,
) -> None:
    """Measures the driver."""
    place = find_root(data_root)
    dataset = open_dataset("glyphs", place)
    settings = scripted_settings(dataset, place, trials, reports)
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder = SearchFolder(Path(temporary).absolute())
        study = open_study(
            sqlite_url(folder.study), settings.study, create=True, pruner=settings.pruner, steps=settings.steps
        )
        asks, seconds = _run(SearchDriver(folder, settings, study), reports)
        size = folder.study.stat().st_size
        began = time.perf_counter()
        study = open_study(sqlite_url(folder.study), settings.study, pruner=settings.pruner, steps=settings.steps)
        mend(folder, study)
        SearchDriver(folder, settings, study)
        resume = time.perf_counter() - began
    milliseconds = [1000 * value for value in seconds]
    found = {
        "trials": trials,
        "reports": len(seconds),
        "report median ms": round(statistics.median(milliseconds), 1),
        "report 99th percentile ms": round(statistics.quantiles(milliseconds, n=100)[98], 1),
        "last tenth median ms": round(statistics.median(milliseconds[-len(milliseconds) // 10 :]), 1),
        "suggestion median ms": round(1000 * statistics.median(asks), 1),
        "study MB": round(size / 1e6, 1),
        "resume s": round(resume, 1),
    }
    print(json.dumps(found, indent=1))


def scripted_settings(dataset: Dataset, place: Path, trials: int, reports: int) -> SearchSettings:
    """Of a search of ``trials`` trials with ``reports`` validations each."""
    layers = Layers(PRESETS, "training.preset")
    space = add_space_file(layers, read_space_file(SPACES / "glyphs.yaml"))
    layers.add({"training": {"iterations": 10 * reports, "eval_every": 10}, "search": {"trials": trials}}, "flag")
    settings = resolve_settings(dataset, layers, space, root=place, external_study=False)
    return settings.model_copy(update={"study": "benchmark"})


def _run(driver: SearchDriver, reports: int) -> tuple[list[float], list[float]]:
    """Seconds of every suggestion and of every report, :data:`AT_ONCE` trials at a time."""
    asks: list[float] = []
    seconds: list[float] = []
    running: dict[int, list[Progress]] = {}
    while True:
        while len(running) < AT_ONCE:
            began = time.perf_counter()
            number = driver.next_trial()
            if number is None:
                break
            asks.append(time.perf_counter() - began)
            running[number] = []
        if not running:
            return asks, seconds
        for number, history in list(running.items()):
            history.append(next_progress(driver.folder, number, len(history) + 1, reports))
            write_text(driver.folder.trial(number) / PROGRESS, progress_lines([asdict(entry) for entry in history]))
            began = time.perf_counter()
            pruned = driver.report(number, history[-1])
            seconds.append(time.perf_counter() - began)
            if pruned or len(history) == reports:
                driver.finish(number, "finished")
                del running[number]


def next_progress(folder: SearchFolder, number: int, step: int, reports: int) -> Progress:
    """Every trial is a little better than those before it, so that none is pruned."""
    alpha = read_yaml(folder.trial(number) / "config.yaml")["strategy"]["alpha"] if step == 1 else 0.0
    value = 0.2 + number * 1e-4 + step / reports * 0.1 + alpha * 1e-6
    return Progress(10 * step, time.time(), float(step), {"loss": 1.0, "ce": 1.0}, value, 0.01, value, 0.01, 10 * step)


if __name__ == "__main__":
    run_command(main)
