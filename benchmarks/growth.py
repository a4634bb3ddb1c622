"""What does a step of training cost as its work grows, in time and memory?

    python -m benchmarks.growth --output benchmarks/results       # a quarter of an hour, random pictures
    python -m benchmarks.growth --points benchmarks/results/growth-avx2-float32.json --output benchmarks/results    # drawn again

One thing grows at a time, from 5-way 1-shot, 15 queries, 4 tasks, 84 x 84 pictures and 32 filters: shots, ways, tasks, sides and
filters. Every point is a process of its own, whose memory is what training took above what was there before. The slope is that
of a straight line through logarithms: cost ~ work^slope, with the multiply-adds of a step as its work.

Beside both costs stands what bounds them from below: the multiply-adds at the rate of a large matrix product, and the numbers
that a gradient is computed from, which are the input and the output of every convolution.
"""

import json
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
from benchmarks.processor import MATRIX_RATE, describe, kind, precisions
from benchmarks.random_pictures import NAME, SIZE, write_pictures
from datg.cli.console import console, print_rows
from datg.cli.main import run_command
from datg.data.splits import TaskSize
from datg.storage.files import write_json

USUAL = {"shots": 1, "ways": 5, "tasks": 4, "side": SIZE, "filters": 32}
GROWING = {
    "shots": (1, 5, 10),
    "ways": (2, 5, 10, 20),
    "tasks": (1, 2, 4, 8, 16),
    "side": (28, 42, 84, 168, 224),
    "filters": (16, 32, 64),
}
QUERIES = TaskSize().queries  # of each class
WARM_UP = 2


@dataclass(frozen=True)
class Point:
    """Hold the cost of one measured step.

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
    points: Annotated[Path | None, typer.Option(help="Draw what this file holds instead of measuring.")] = None,
) -> None:
    """Measure, print and plot."""
    found = json.loads(points.read_text()) if points else _measure_all(learner, strategy, steps, threads)
    measured = [Point(**point) for point in found["points"]]
    print_rows([asdict(point) for point in measured], console())
    print(f"cost ~ work^slope: {found['slopes']}")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        name = points.stem if points else f"growth-{kind()}"
        write_json(output / f"{name}.json", found)
        rate = found["machine"].get(MATRIX_RATE, {}).get(found["step"]["precision"], 0.0)
        plot(measured, found["slopes"], found["step"], rate, output / f"{name}.png")


def _measure_all(learner: str, strategy: str, steps: int, threads: int) -> dict[str, Any]:
    """Return what a file of results holds."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for growing, value in [(name, value) for name, values in GROWING.items() for value in values]:
            point = measure(Path(folder), growing, value, learner, strategy, steps, threads)
            print(asdict(point), flush=True)
            points.append(point)
        with Contestant(Machine(Path(folder) / str(SIZE), NAME, threads), textbook=False) as side:
            rate = round(side.ask("matrix_rate", precisions()[-1]) / 1e9)
    step = {"learner": learner, "strategy": strategy, "precision": precisions()[-1], **USUAL}
    slopes = {name: slope(points, name) for name in ("milliseconds", "megabytes")}
    machine = {**describe(threads), MATRIX_RATE: {precisions()[-1]: rate}}
    return {"machine": machine, "step": step, "slopes": slopes, "points": [asdict(point) for point in points]}


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


def least_megabytes(step: dict[str, Any]) -> float:
    """Return the MiB that the gradient of a step of conv4 is computed from: input and output of every convolution."""
    sides = [step["side"] // 2**block for block in range(4)]
    outputs = sum(side**2 for side in sides)
    inputs = sum(side**2 for side in sides[1:])
    pictures = step["tasks"] * step["ways"] * (step["shots"] + QUERIES)
    numbers = pictures * (3 * step["side"] ** 2 + step["filters"] * (outputs + inputs))
    return numbers * (4 if step["precision"] == "float32" else 2) / 2**20


def plot(
    points: list[Point], slopes: dict[str, dict[str, float]], step: dict[str, Any], rate: float, path: Path
) -> None:
    """Draw both costs over work, on logarithmic axes, and what bounds them from below.

    Args:
        points: that were measured.
        slopes: of both costs, of all points and of each thing that grows.
        step: what is usual.
        rate: 10^9 multiply-adds a second of a large matrix product; 0 if that is not known.
        path: of the picture.
    """
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
        _draw_limit(axes, cost, points, step, rate)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("multiply-adds a step")
        axes.set_ylabel(label)
        axes.legend(title=f"all: slope {slopes[cost]['all']}", fontsize=8)
        axes.grid(alpha=0.3)
    drawing.suptitle(f"a step of {step['strategy']} with {step['learner']}, {step['precision']}")
    FigureCanvasAgg(drawing)
    drawing.savefig(path, dpi=110)


def _draw_limit(axes: Any, cost: str, points: list[Point], step: dict[str, Any], rate: float) -> None:
    grey: dict[str, Any] = {"color": "grey", "linestyle": "none", "marker": "_", "markersize": 12}
    work = [point.multiply_adds for point in points]
    if cost == "megabytes":
        least = [least_megabytes({**step, point.growing: point.value}) for point in points]
        axes.plot(work, least, label="inputs and outputs of the convolutions", **grey)
    elif rate:
        axes.plot(work, [number / rate / 1e6 for number in work], label="at a large matrix product's rate", **grey)


if __name__ == "__main__":
    run_command(main)
