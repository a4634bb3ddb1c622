"""What does a step of training cost as its work grows, in time and memory?

    python -m benchmarks.growth --output benchmarks/results       # a quarter of an hour, random pictures

One thing grows at a time, from 5-way 1-shot, 15 queries, 4 tasks, 84 x 84 pictures and 32 filters: shots, ways, tasks, sides and
filters. Every point is a process of its own, whose memory is what training took above what was there before. The slope is that
of a straight line through logarithms: cost ~ work^slope, with the multiply-adds of a step as its work.
"""

import os
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.contestants import Contestant, Machine
from benchmarks.processor import describe, kind, precisions
from benchmarks.random_pictures import NAME, SIZE, write_pictures
from datg.cli.console import console, print_rows
from datg.cli.main import run_command
from datg.storage.files import write_json

USUAL = {"shots": 1, "ways": 5, "tasks": 4, "side": SIZE, "filters": 32}
GROWING = {
    "shots": (1, 5, 10),
    "ways": (2, 5, 10, 20),
    "tasks": (1, 2, 4, 8, 16),
    "side": (28, 42, 84, 168, 224),
    "filters": (16, 32, 64),
}
WARM_UP = 2


@dataclass(frozen=True)
class Point:
    """A step that was measured.

    Attributes:
        growing: what was not as usual.
        value: what it was.
        multiply_adds: of convolutions and matrix products.
        milliseconds: median over steps.
        megabytes: the most that training held.
    """

    growing: str
    value: int
    multiply_adds: float
    milliseconds: float
    megabytes: int


def main(
    learner: Annotated[str, typer.Option()] = "protonet",
    strategy: Annotated[str, typer.Option()] = "vanilla",
    steps: Annotated[int, typer.Option(min=1, help="That are timed for every point.")] = 5,
    threads: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    output: Annotated[Path | None, typer.Option(help="A folder for the points and their plot.")] = None,
) -> None:
    """Measure, print and plot."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for growing, value in [(name, value) for name, values in GROWING.items() for value in values]:
            point = measure(Path(folder), growing, value, learner, strategy, steps, threads)
            print(asdict(point), flush=True)
            points.append(point)
    print_rows([asdict(point) for point in points], console())
    slopes = {name: slope(points, name) for name in ("milliseconds", "megabytes")}
    print(f"cost ~ work^slope: {slopes}")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        name = f"growth-{kind()}"
        step = {"learner": learner, "strategy": strategy, "precision": precisions()[-1], **USUAL}
        found = {"machine": describe(threads), "step": step, "slopes": slopes, "points": [asdict(p) for p in points]}
        write_json(output / f"{name}.json", found)
        plot(points, slopes, f"a step of {strategy} with {learner}, {precisions()[-1]}", output / f"{name}.png")


def measure(folder: Path, growing: str, value: int, learner: str, strategy: str, steps: int, threads: int) -> Point:
    """Measure one point in a process of its own."""
    step = {**USUAL, growing: value}
    root = folder / str(step["side"])
    if not (root / NAME).exists():
        write_pictures(root / NAME, side=step["side"])
    values = {
        "learner": {"name": learner},
        "strategy": {"name": strategy},
        "backbone": {"name": "conv4", "filters": step["filters"]},
        "task": {"ways": step["ways"], "shots": step["shots"]},
        "training": {"batch": step["tasks"], "precision": precisions()[-1]},
    }
    with Contestant(Machine(root, NAME, threads), textbook=False) as side:
        side.ask("prepare", "step", values)
        idle = side.ask("peak_memory")
        side.ask("train", "step", WARM_UP)
        milliseconds = statistics.median(1000 * side.ask("train", "step", 1)[0] for _ in range(steps))
        held = (side.ask("peak_memory") - idle) >> 20
        return Point(growing, value, side.ask("multiply_adds", "step"), round(milliseconds, 1), held)


def slope(points: list[Point], cost: str) -> dict[str, float]:
    """Return the slope of a cost over work in logarithms, for all points and for each thing that grows."""

    def fitted(some: list[Point]) -> float:
        work, costs = ([np.log(getattr(point, name)) for point in some] for name in ("multiply_adds", cost))
        return round(float(np.polyfit(work, costs, 1)[0]), 2)

    return {"all": fitted(points)} | {name: fitted(some) for name, some in _by_growing(points)}


def _by_growing(points: list[Point]) -> Iterator[tuple[str, list[Point]]]:
    for name, some in groupby(points, key=lambda point: point.growing):
        yield name, list(some)


def plot(points: list[Point], slopes: dict[str, dict[str, float]], title: str, path: Path) -> None:
    """Draw both costs over work, on logarithmic axes, with the line of all points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 4.6), layout="constrained")
    costs: list[tuple[str, str]] = [("milliseconds", "milliseconds a step"), ("megabytes", "MiB that a step holds")]
    panels: Any = drawing.subplots(1, 2)
    for axes, (cost, label) in zip(panels, costs, strict=True):
        for name, some in _by_growing(points):
            axes.plot(
                [point.multiply_adds for point in some],
                [getattr(point, cost) for point in some],
                marker="o",
                label=f"{name} {some[0].value} to {some[-1].value}: slope {slopes[cost][name]}",
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("multiply-adds a step")
        axes.set_ylabel(label)
        axes.legend(title=f"all: slope {slopes[cost]['all']}", fontsize=8)
        axes.grid(alpha=0.3)
    drawing.suptitle(title)
    FigureCanvasAgg(drawing)
    drawing.savefig(path, dpi=110)


if __name__ == "__main__":
    run_command(main)
