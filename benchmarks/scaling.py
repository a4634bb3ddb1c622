"""What will a search of 1,000 trials on 256 GPUs take, and what becomes the bottleneck first?

    python -m benchmarks.scaling                         # the model against simulations, 64 and 256 GPUs: minutes
    python -m benchmarks.scaling --ray 16                # ... and against Ray itself, with 16 invented GPUs
    python -m benchmarks.scaling --output docs/images    # ... with a picture of the extrapolation

Measured are what the driver needs for a report and to end a trial and suggest the next one, and the start; given are the interval
between two reports of a trial, the seconds of a final evaluation, and the network on which the class table goes from node to
node (constants below). The driver is one queue that all GPUs share (mean value analysis of a closed network), so

    wall = start + broadcast + evaluations / GPUs
           + sum over waves of (reports of the wave / throughput(its GPUs, interval, driver, writing)).

Reports are written behind the driver's back, one after the other: that bounds how many there can be, and nobody waits for it.

It is an upper bound: no trial is pruned.

A simulation runs the real driver on a real study in virtual time: trials are scripted, clocks of GPUs jump, and the seconds that
the driver really takes are added to its own clock. With ``--ray`` scripted trials sleep in processes of Ray's.
"""

import heapq
import json
import logging
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import typer

from benchmarks.driver_speed import next_progress, save_progress, scripted_settings, timed_writes
from datg.cli.console import console, print_rows
from datg.cli.main import run_command
from datg.cli.options import DataRoot
from datg.data.catalog import Dataset, open_dataset
from datg.data.catalog import data_root as find_root
from datg.search.state.folder import SearchFolder
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import open_study, sqlite_url
from datg.trial.folder import ValidationReport

START = 10.0  # seconds from the command to the first step: docs/performance.md
EVALUATION = 3.0  # seconds of a final evaluation
REPORTS = 30  # validations of a trial of the large search
NODE = 8  # GPUs of a node
NETWORK = 1.25e9  # bytes a second from node to node: 10 Gbit/s
TABLE = 107_000_000  # bytes: DermNet's 5,093 pictures of 84 x 84
TRIALS = 1_000  # of the large search
LARGE = 256  # GPUs of the large search
MINUTES = (1, 4, 30)  # of a trial of the large search


@dataclass
class Observed:
    """Hold the times that a run took.

    Attributes:
        wall: seconds from the first step to the end of the last trial.
        reports: how many there were.
        report: seconds of the driver for each.
        exchange: seconds to end a trial and suggest the next, for each trial.
        write: seconds to write a report, behind the driver's back.
    """

    wall: float = 0.0
    reports: int = 0
    report: list[float] = field(default_factory=list)
    exchange: list[float] = field(default_factory=list)
    write: list[float] = field(default_factory=list)

    @property
    def driver(self) -> float:
        """Return seconds of the driver a report, ends and suggestions included."""
        return (sum(self.report) + sum(self.exchange)) / max(1, self.reports)

    def driver_of(self, reports: int, trials: int) -> float:
        """Return the same of trials that report ``reports`` times, from ``trials`` trials that were observed."""
        return statistics.mean(self.report) + sum(self.exchange) / trials / reports


def throughput(gpus: int, interval: float, driver: float, writing: float = 0.0) -> float:
    """Return the reports a second of trials on ``gpus`` GPUs.

    Args:
        gpus: trials at once.
        interval: seconds between two reports of a trial.
        driver: seconds that the one driver needs for each.
        writing: seconds that each takes to be written, behind.
    """
    queue = 0.0
    rate = 0.0
    for customers in range(1, gpus + 1):
        response = driver * (1 + queue)
        rate = customers / (interval + response)
        queue = rate * response
    return min(rate, 1 / writing) if writing else rate


def predict(*, gpus: int, trials: int, steps: float, interval: float, driver: float, writing: float = 0.0) -> float:
    """Return the seconds from the first step to the end of the last trial: trials come in waves, the last one smaller.

    Args:
        gpus: trials at once.
        trials: in all.
        steps: reports of a trial on the average.
        interval: seconds between two reports of a trial.
        driver: seconds for a report, with its part of ends and suggestions.
        writing: seconds to write a report, behind.
    """
    waves = [gpus] * (trials // gpus) + [trials % gpus] * (trials % gpus > 0)
    return sum(steps * wave / throughput(wave, interval, driver, writing) for wave in waves)


def broadcast(nodes: int, size: int) -> float:
    """Return the seconds until ``size`` bytes are on every node: each that has them sends them on to one that has not."""
    return math.ceil(math.log2(nodes)) * size / NETWORK


def simulate(driver: SearchDriver, *, gpus: int, steps: int, interval: float) -> Observed:
    """Run scripted trials on invented GPUs, in virtual time."""
    with timed_writes() as writes:
        return _simulate(driver, Observed(write=writes), gpus=gpus, steps=steps, interval=interval)


def _simulate(driver: SearchDriver, observed: Observed, *, gpus: int, steps: int, interval: float) -> Observed:
    order = count()
    free = written = 0.0  # when the driver has time again, and when all reports so far are written
    histories: defaultdict[int, list[ValidationReport]] = defaultdict(list)
    events: list[tuple[float, int, int, int]] = []  # when, a tie-breaker, trial, its step

    def served(at: float, began: float, spent: list[float]) -> float:
        nonlocal free
        spent.append(time.perf_counter() - began)
        free = max(at, free) + spent[-1]
        return free

    def suggest(at: float) -> None:
        began = time.perf_counter()
        number = driver.next_trial()
        if number is not None:
            heapq.heappush(events, (served(at, began, observed.exchange) + interval, next(order), number, 1))

    for _ in range(gpus):
        suggest(0.0)
    while events:
        at, _, number, step = heapq.heappop(events)
        progress = next_progress(driver.folder, number, step, steps)
        histories[number].append(progress)
        save_progress(driver.folder, number, histories[number])
        began = time.perf_counter()
        ends = driver.report(number) or step == steps
        answered = served(at, began, observed.report)
        driver.flush()
        written = max(written, answered) + observed.write[-1]
        observed.reports += 1
        observed.wall = max(observed.wall, answered)
        if not ends:
            heapq.heappush(events, (answered + interval, next(order), number, step + 1))
            continue
        observed.exchange.append(max(0.0, written - answered))  # an end waits until all before it is written
        free = max(free, written)
        began = time.perf_counter()
        driver.finish(number, "finished")
        suggest(served(at, began, observed.exchange))
    return observed


@contextmanager
def made(dataset: Dataset, root: Path, *, trials: int, steps: int) -> Iterator[SearchDriver]:
    """Yield the driver of a new search whose trials are to be scripted."""
    settings = scripted_settings(dataset, root, trials, steps)
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder = SearchFolder(Path(temporary).absolute())
        driver = SearchDriver(folder, settings, open_study(sqlite_url(folder.study), settings.study, create=True))
        yield driver
        driver.close()


def with_ray(driver: SearchDriver, dataset: Dataset, *, gpus: int, steps: int, interval: float) -> Observed:
    """Run the same in processes of Ray's, which sleep for ``interval`` between two reports."""
    import ray

    from benchmarks.sleeping_trial import trial_of
    from datg.runtime.signals import StopRequest
    from datg.search.ray import run as ray_run
    from datg.search.ray.cluster import shut_down
    from datg.search.ray.resources import Resources, allocate

    observed = Observed()
    report, next_trial, finish = driver.report, driver.next_trial, driver.finish
    first = last = 0.0

    def timed(method, spent):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal last
            began = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                last = time.perf_counter()
                spent.append(last - began)

        return call

    def first_report(number):  # type: ignore[no-untyped-def]
        nonlocal first
        first = first or time.perf_counter() - interval
        observed.reports += 1
        return report(number)

    def end(*arguments, **options):  # type: ignore[no-untyped-def]
        with mock.patch.object(driver, "report", report):  # an end takes what is new, which is no report more
            finish(*arguments, **options)

    ray.init(num_cpus=gpus, num_gpus=gpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    patches = {"next_trial": timed(next_trial, observed.exchange), "finish": timed(end, observed.exchange)}
    scripted = mock.patch.object(ray_run, "train", trial_of(steps, interval))
    try:
        calls = mock.patch.multiple(driver, report=timed(first_report, observed.report), **patches)
        with calls, scripted, timed_writes() as observed.write:
            allocation = allocate([{"CPU": float(gpus), "GPU": float(gpus)}], Resources(gpus_per_trial=1.0))
            ray_run.run_trials(driver, dataset, allocation, StopRequest(), lambda line: None)
    finally:
        shut_down()
    observed.wall = last - first
    return observed


def main(
    trials: Annotated[int, typer.Option(min=1, help="Of the simulated searches.")] = 520,
    steps: Annotated[int, typer.Option(min=1, help="Reports of a simulated trial.")] = 6,
    ray: Annotated[int, typer.Option(min=0, help="Invented GPUs of a run with Ray itself.")] = 0,
    output: Annotated[Path | None, typer.Option(help="A folder for a picture of the extrapolation.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Compare model and simulation, then extrapolate."""
    root = find_root(data_root)
    dataset = open_dataset("glyphs", root)
    rows, costs, writing = [], [], []
    for gpus, interval in ((64, 0.5), (64, 8.0), (256, 2.0), (256, 8.0)):
        with made(dataset, root, trials=trials, steps=steps) as driver:
            observed = simulate(driver, gpus=gpus, steps=steps, interval=interval)
        writing.append(statistics.median(observed.write))
        costs.append(observed.driver_of(REPORTS, trials))
        rows.append(_row("simulated", observed, gpus=gpus, trials=trials, interval=interval))
    for interval in (0.5, 2.0) if ray else ():
        with made(dataset, root, trials=4 * ray, steps=steps) as driver:
            observed = with_ray(driver, dataset, gpus=ray, steps=steps, interval=interval)
        rows.append(_row("Ray", observed, gpus=ray, trials=4 * ray, interval=interval))
    print_rows(rows, console())
    cost, write = statistics.median(costs), statistics.median(writing)
    asked = [_large_search(minutes, cost, write) for minutes in MINUTES]
    print_rows(asked, console())
    driver_costs = {"driver, ms a report": round(1000 * cost, 1), "writing, ms a report": round(1000 * write, 1)}
    print(json.dumps({**driver_costs, "checks": rows, "1,000 trials on 256 GPUs": asked}))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        plot(cost, write, output / "scaling.png")


def large_search(minutes: float, gpus: int, driver: float, writing: float) -> tuple[float, float]:
    """Return the seconds that a search of 1,000 trials takes, and those that its GPUs alone would need.

    Args:
        minutes: of a trial.
        gpus: in nodes of eight.
        driver: seconds for a report, with its part of ends and suggestions.
        writing: seconds to write a report, behind.
    """
    interval = 60 * minutes / REPORTS
    training = predict(gpus=gpus, trials=TRIALS, steps=REPORTS, interval=interval, driver=driver, writing=writing)
    before = START + broadcast(math.ceil(gpus / NODE), TABLE)
    return before + training + TRIALS * EVALUATION / gpus, TRIALS * REPORTS * interval / gpus


def _large_search(minutes: float, driver: float, writing: float) -> dict[str, object]:
    interval = 60 * minutes / REPORTS
    wall, least = large_search(minutes, LARGE, driver, writing)
    return {
        "minutes a trial": minutes,
        "1,000 trials on 256 GPUs, min": round(wall / 60, 1),
        "training alone, min": round(least / 60, 1),
        "start and broadcast, s": round(START + broadcast(LARGE // NODE, TABLE), 1),
        "driver busy": f"{throughput(LARGE, interval, driver, writing) * driver:.0%}",
        "GPUs without work": f"{1 - least / wall:.0%}",
        "GPUs that one driver keeps busy": round(interval / max(driver, writing)) + 1,
    }


def plot(driver: float, writing: float, path: Path) -> None:
    """Draw the minutes of the large search over its GPUs, and those that training alone would need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 4.6), layout="constrained")
    axes: Any = drawing.subplots()
    gpus = [2**power for power in range(3, 11)]
    for color, minutes in enumerate(MINUTES):
        seconds = [large_search(minutes, number, driver, writing) for number in gpus]
        whole, least = ([value / 60 for value in values] for values in zip(*seconds, strict=True))
        axes.plot(gpus, whole, marker="o", color=f"C{color}", label=f"trials of {minutes} min")
        axes.plot(gpus, least, linestyle="--", color=f"C{color}", label="training alone, GPUs always busy")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(gpus, [str(number) for number in gpus])
    axes.set_xlabel("GPUs")
    axes.set_ylabel("minutes of the search")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    drawing.suptitle(
        f"1,000 trials of {REPORTS} reports, none pruned; the driver takes {1000 * driver:.1f} ms a report"
    )
    FigureCanvasAgg(drawing)
    drawing.savefig(path, dpi=110)


def _row(how: str, observed: Observed, *, gpus: int, trials: int, interval: float) -> dict[str, object]:
    model = predict(
        gpus=gpus,
        trials=trials,
        steps=observed.reports / trials,
        interval=interval,
        driver=observed.driver,
        writing=statistics.median(observed.write),
    )
    return {
        "run": how,
        "GPUs": gpus,
        "seconds between reports": interval,
        "reports": observed.reports,
        "driver, ms a report": round(1000 * observed.driver, 1),
        "writing, ms a report": round(1000 * statistics.median(observed.write), 1),
        "wall, s": round(observed.wall, 1),
        "model, s": round(model, 1),
        "model / wall": round(model / observed.wall, 2),
    }


if __name__ == "__main__":
    run_command(main)
