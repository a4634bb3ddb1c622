"""How much faster than the textbook is this package, in training and in evaluation?

    python -m benchmarks.run --quick                     # two minutes, on random pictures in the sizes of DermNet
    python -m benchmarks.run --dataset dermnet --output benchmarks/results      # half an hour: every strategy, more rounds

Every figure is a ratio. What is compared takes turns in one run, round after round, each side in its own process; a figure is
the median over rounds. Losses and accuracies of both sides are compared before anything is timed.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import chain, product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.contestants import Contestant, Machine
from benchmarks.processor import MATRIX_RATE, describe, kind, precisions
from benchmarks.random_pictures import NAME, write_pictures
from datg.cli.console import console, print_rows
from datg.cli.main import run_command
from datg.cli.options import DataRoot
from datg.data.catalog import data_root as find_root
from datg.errors import ConfigError
from datg.storage.files import write_json
from datg.strategies import STRATEGIES

# Well under the usual: machines are noisy. By name of a figure; the textbook in float32 is always the other side.
FLOORS = {
    "training protonet datg 1-shot float32": 1.1,
    "training protonet datg 1-shot bf16": 1.8,
    "training maml datg 1-shot float32": 1.1,
    "training maml datg 1-shot bf16": 1.8,
    "evaluation protonet 1-shot": 500.0,
    "evaluation maml 1-shot": 2.0,
}
DATG_BOTH = "datg, mmd_gradient both"
TEST_TASKS = 20_000  # what the costs that tasks share are spread over


@dataclass(frozen=True)
class Effort:
    """Hold the thoroughness of a measurement.

    Attributes:
        strategy_iterations: that every strategy does in a round, which draw the layers that decide the cost; 0 leaves them out.
    """

    rounds: int
    iterations: int
    warm_up: int
    shots: tuple[int, ...]
    textbook_tasks: int
    maml_tasks: int
    strategy_iterations: int


QUICK = Effort(rounds=2, iterations=1, warm_up=1, shots=(1,), textbook_tasks=6, maml_tasks=62, strategy_iterations=0)
FULL = Effort(rounds=5, iterations=2, warm_up=3, shots=(1, 5), textbook_tasks=20, maml_tasks=310, strategy_iterations=4)


@dataclass(frozen=True)
class Figure:
    """Hold one line of the result.

    Attributes:
        name: what was measured.
        ratio: how many times faster than the textbook (or, of a strategy, how many times as slow as Vanilla).
        low: the smallest ratio of a round.
        high: the largest.
        milliseconds: an iteration, or a task, of this package.
        textbook_milliseconds: likewise; None where it is not compared with the textbook.
        of_peak: multiply-adds a second over those of a large matrix product in the same precision.
    """

    name: str
    ratio: float
    low: float
    high: float
    milliseconds: float
    textbook_milliseconds: float | None = None
    of_peak: float | None = None


class Disagreement(Exception):
    """Say that both sides do not compute the same."""


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, DATG and Vanilla only.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when a ratio is below its floor.")] = False,
    dataset: Annotated[
        str | None, typer.Option(help="An imported data set of pictures.", show_default="random")
    ] = None,
    threads: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
    output: Annotated[
        Path | None, typer.Option(help="A folder for KIND.json and KIND.png, by kind of processor.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Measure, print, and write what was measured."""
    effort = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        root = find_root(data_root) if dataset else Path(folder)
        if dataset is None:
            write_pictures(root / NAME)
        machine = Machine(root, dataset or NAME, threads)
        with Contestant(machine, textbook=False) as ours, Contestant(machine, textbook=True) as textbook:
            figures = [
                _told(figure) for figure in chain(training(ours, textbook, effort), evaluation(ours, textbook, effort))
            ]
            peaks = {precision: ours.ask("matrix_rate", precision) for precision in precisions()}
            shares = draw_shares(ours, effort)
            if effort.strategy_iterations:
                figures += [_told(figure) for figure in strategies(ours, effort)]
    print_rows([_row(figure) for figure in figures], console())
    result = {
        "machine": {
            **describe(threads),
            "data": dataset or "random pictures",
            "effort": "quick" if quick else "full",
            MATRIX_RATE: {name: round(rate / 1e9) for name, rate in peaks.items()},
        },
        "figures": [asdict(figure) for figure in figures],
        "share of a step that drawing and gathering takes": shares,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "figures"}))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / f"{kind()}.json", result)
        plot(figures, output / f"{kind()}.png")
    if check:
        check_floors(figures)


def training(ours: Contestant, textbook: Contestant, effort: Effort) -> Iterable[Figure]:
    """Measure iterations of Vanilla and DATG, with each learner, number of shots and precision."""
    for learner, strategy, shots in product(("protonet", "maml"), ("vanilla", "datg"), effort.shots):
        values = {"learner": {"name": learner}, "strategy": {"name": strategy}, "task": {"shots": shots}}
        textbook.ask("prepare", "textbook", values)
        for precision in precisions():
            ours.ask("prepare", precision, {**values, "training": {"precision": precision}})
        theirs, our_loss = textbook.ask("train", "textbook", 1)[1], ours.ask("train", "float32", 1)[1]
        if abs(our_loss - theirs) > 1e-3 * abs(theirs):
            raise Disagreement(f"{learner} {strategy} {shots}-shot: loss {our_loss} here, {theirs} in the textbook")
        seconds = take_turns(ours, textbook, effort)
        for precision in precisions():
            multiply_adds = ours.ask("multiply_adds", precision)
            figure = compared(
                f"training {learner} {strategy} {shots}-shot {precision}", seconds[precision], seconds["textbook"]
            )
            rate = multiply_adds / (figure.milliseconds / 1000)
            yield replace(figure, of_peak=round(rate / ours.ask("matrix_rate", precision), 3))
            ours.ask("forget", precision)
        textbook.ask("forget", "textbook")


def take_turns(ours: Contestant, textbook: Contestant, effort: Effort) -> dict[str, list[float]]:
    """Return the seconds an iteration of each side, by round; the same iterations, so the same draws."""
    sides = {"textbook": textbook, **dict.fromkeys(precisions(), ours)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for name, side in sides.items():
        side.ask("train", name, effort.warm_up)
    for _ in range(effort.rounds):
        for name, side in sides.items():
            seconds[name].append(side.ask("train", name, effort.iterations)[0])
    return seconds


def compared(name: str, ours: list[float], theirs: list[float]) -> Figure:
    """Return a figure from seconds by round."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Figure(
        name=name,
        ratio=round(statistics.median(ratios), 2),
        low=round(min(ratios), 2),
        high=round(max(ratios), 2),
        milliseconds=round(1000 * statistics.median(ours), 3),
        textbook_milliseconds=round(1000 * statistics.median(theirs), 1),
    )


def evaluation(ours: Contestant, textbook: Contestant, effort: Effort) -> Iterable[Figure]:
    """Measure test tasks of novel classes, with the weights of a short training; what tasks share is spread over TEST_TASKS."""
    for learner, shots in product(("protonet", "maml"), effort.shots):
        values = {"learner": {"name": learner}, "task": {"shots": shots}}
        ours.ask("prepare", "weights", {**values, "strategy": {"name": "vanilla"}})
        ours.ask("train", "weights", 10)
        weights = ours.ask("weights", "weights")
        ours.ask("forget", "weights")
        textbook.ask("load", values, weights, "float32")
        ours.ask("load", values, weights, "float32")
        _compare_accuracies(ours, textbook, f"{learner} {shots}-shot", effort.textbook_tasks)
        ours.ask("load", values, weights, precisions()[-1])
        tasks = TEST_TASKS if learner == "protonet" else effort.maml_tasks
        ours.ask("evaluate", tasks)
        our_seconds, theirs = [], []
        for turn in range(effort.rounds):
            whole = ours.ask("evaluate", tasks)[0]
            alone = ours.ask("evaluate_tasks_alone", tasks)
            our_seconds.append(alone / tasks + max(0.0, whole - alone) / TEST_TASKS)
            first = turn * effort.textbook_tasks
            theirs.append(textbook.ask("evaluate", effort.textbook_tasks, first)[0] / effort.textbook_tasks)
        yield compared(f"evaluation {learner} {shots}-shot", our_seconds, theirs)


def _compare_accuracies(ours: Contestant, textbook: Contestant, name: str, tasks: int) -> None:
    our_accuracies, theirs = (np.array(side.ask("evaluate", tasks)[1]) for side in (ours, textbook))
    # A query on a border may fall to the other side by rounding.
    if np.abs(our_accuracies - theirs).mean() > 0.01:
        raise Disagreement(f"evaluation of {name}: accuracies {our_accuracies} here, {theirs} in the textbook")


def draw_shares(ours: Contestant, effort: Effort) -> dict[str, float]:
    """Return the time that drawing and gathering a meta-batch takes, over that of a step of Vanilla."""
    shares = {}
    for shots in effort.shots:
        ours.ask("prepare", "draw", {"task": {"shots": shots}, "strategy": {"name": "vanilla"}})
        ours.ask("train", "draw", effort.warm_up)
        of_step = []
        for _ in range(effort.rounds):
            step = ours.ask("train", "draw", effort.iterations)[0]
            of_step.append(ours.ask("draw", "draw", 5) / step)
        shares[f"{shots}-shot"] = round(statistics.median(of_step), 4)
        ours.ask("forget", "draw")
    return shares


def strategies(ours: Contestant, effort: Effort) -> Iterable[Figure]:
    """Measure every strategy, as a multiple of Vanilla with the same learner; of DATG also with a gradient to real tasks."""
    for learner, shots in product(("protonet", "maml"), effort.shots):
        names = [name for name, kind in STRATEGIES.items() if learner not in kind.refused_learners] + [DATG_BOTH]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for name in names:
            options = {"name": "datg", "mmd_gradient": "both"} if name == DATG_BOTH else {"name": name}
            ours.ask("prepare", name, {"learner": {"name": learner}, "strategy": options, "task": {"shots": shots}})
            ours.ask("train", name, effort.warm_up)
        for _ in range(effort.rounds):
            for name in names:
                seconds[name].append(ours.ask("train", name, effort.strategy_iterations)[0])
        for name in names:
            ours.ask("forget", name)
            figure = compared(f"strategy {learner} {name} {shots}-shot", seconds["vanilla"], seconds[name])
            milliseconds = round(1000 * statistics.median(seconds[name]), 1)
            yield replace(figure, milliseconds=milliseconds, textbook_milliseconds=None)


def _told(figure: Figure) -> Figure:
    """Print a figure as soon as it is measured."""
    print(json.dumps(asdict(figure)), flush=True)
    return figure


def _row(figure: Figure) -> dict[str, Any]:
    return {
        "figure": figure.name,
        "ratio": figure.ratio,
        "of rounds": f"{figure.low} to {figure.high}",
        "ms": figure.milliseconds,
        "textbook ms": figure.textbook_milliseconds or "",
        "of peak": "" if figure.of_peak is None else f"{figure.of_peak:.0%}",
    }


def check_floors(figures: list[Figure]) -> None:
    """Raise ConfigError for ratios below their floor."""
    ratios = {figure.name: figure.ratio for figure in figures}
    low = [
        f"{name}: {ratios[name]} < {floor}" for name, floor in FLOORS.items() if name in ratios and ratios[name] < floor
    ]
    if low:
        raise ConfigError(
            "slower than it was: " + "; ".join(low) + ". Find what made it so, or run again on a quiet machine."
        )


def plot(figures: list[Figure], path: Path) -> None:
    """Draw ratios to the textbook as bars on a logarithmic axis, with their floors."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    shown = [figure for figure in figures if figure.textbook_milliseconds is not None]
    drawing = Drawing(figsize=(9, 1 + 0.3 * len(shown)), layout="constrained")
    axes = drawing.subplots()
    places = range(len(shown))
    spread = [[f.ratio - f.low for f in shown], [f.high - f.ratio for f in shown]]
    axes.barh(places, [f.ratio for f in shown], xerr=spread, color="#4c72b0", ecolor="#333333")
    axes.set_yticks(places, [f.name for f in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the textbook (median and range of rounds)")
    for height, figure in zip(places, shown, strict=True):
        if figure.name in FLOORS:
            axes.plot([FLOORS[figure.name]] * 2, [height - 0.45, height + 0.45], color="#c44e52")
    FigureCanvasAgg(drawing)
    drawing.savefig(path, dpi=120)


if __name__ == "__main__":
    run_command(main)
