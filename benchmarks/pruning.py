"""Should a pruner hear a trial's best validation so far, or its latest one?

    python launchers/search.py --dataset glyphs --sampler random --pruner none --trials 30 --set training.eval_every=20
    python -m benchmarks.pruning runs/glyphs-20261125-1

The validations of trials that nobody pruned are played again, a random half of the trials at a time in a random order and four at
once, to each pruner by the code that a search uses. Shown are what a search would have paid, and how far the best trial that it
leaves (by its best validation, whose weights are kept) stays behind the best of all.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from optuna.samplers import RandomSampler

from datg.cli.console import console, print_rows
from datg.cli.main import run_command
from datg.search.study import PRUNERS
from datg.search.study.memory import MemoryStudy
from datg.search.study.pruners import LAST_PRUNING
from datg.trial.folder import ValidationReport, read_reports

AT_ONCE = 4
HEARD = ("best so far", "latest")


def pruning(
    searches: Annotated[list[Path], typer.Argument(help="Folders of searches without a pruner.")],
    orders: Annotated[int, typer.Option(min=2, help="Random orders of a random half of the trials.")] = 400,
) -> None:
    """Print, for each pruner and for what it hears, the cost and the loss."""
    curves = [reports for search in searches for path in search.glob("trials/*") if (reports := read_reports(path))]
    longest = max(map(len, curves))
    curves = [curve for curve in curves if len(curve) == longest]
    console().print(
        f"{len(curves)} trials of {longest} validations; {orders} orders of {len(curves) // 2} of them, seed 0"
    )
    rows = []
    for name in PRUNERS:
        rng = np.random.default_rng(0)
        halves = [rng.permutation(len(curves))[: len(curves) // 2] for _ in range(orders)]
        outcomes = {
            heard: np.array([play([curves[i] for i in half], name, heard) for half in halves]) for heard in HEARD
        }
        rows += [
            {
                "pruner": name,
                "hears": heard,
                "validations paid": f"{outcomes[heard][:, 0].mean():.1%}",
                "behind the best": _interval(outcomes[heard][:, 1]),
                "latest minus best so far": _interval(outcomes[heard][:, 1] - outcomes[HEARD[0]][:, 1])
                if heard == HEARD[1]
                else "",
            }
            for heard in HEARD
        ]
    print_rows(rows, console())


def play(curves: Sequence[list[ValidationReport]], pruner: str, heard: str) -> tuple[float, float]:
    """Return the share of all validations that is paid, and by how much the best trial that is left is worse than the best."""
    steps = len(curves[0])
    study = MemoryStudy("played again", PRUNERS[pruner](steps), [])
    waiting, running, done = list(range(len(curves))), dict[int, int](), []
    paid = 0
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            study.suggest(RandomSampler(seed=0), lambda trial: None)
            running[waiting.pop(0)] = 0
        for number in list(running):
            running[number] += 1
            paid += 1
            report, step = curves[number][running[number] - 1], running[number]
            value = report.objective if heard == HEARD[0] else report.accuracy
            prune, _ = study.report(number, value, step, ask_pruner=step / steps <= LAST_PRUNING)
            if prune or step == steps:
                study.end(number, "pruned" if prune else "finished", report.objective)
                done += [] if prune else [report.objective]
                del running[number]
    best = max(curve[-1].objective for curve in curves)
    return paid / (steps * len(curves)), best - max(done, default=0.0)


def _interval(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ± {1.96 * values.std(ddof=1) / math.sqrt(len(values)):.4f}"


if __name__ == "__main__":
    run_command(pruning)
