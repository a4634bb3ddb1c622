"""How long does an iteration of each strategy take, relative to Vanilla with the same learner?

    python -m benchmarks.strategy_speed glyphs
    python -m benchmarks.strategy_speed glyphs --set backbone.filters=32 --learner maml

All strategies take turns in one run, round after round, so that whatever else the machine does hits them alike; the figures
are medians over rounds.
"""

import statistics
import time
from typing import Annotated

import torch
import typer

from datg.command_line import DataRoot, Settings, run_command
from datg.config import Layers, parse_settings
from datg.data.catalog import data_root as find_root
from datg.data.catalog import open_dataset
from datg.display import console, print_rows
from datg.memory import keep_freed_memory
from datg.partition import partition
from datg.strategies import STRATEGIES
from datg.trial import TrialData, make_training
from datg.trial_config import PRESETS, TrialConfig


def strategy_speed(
    dataset: Annotated[str, typer.Argument(help="An imported or built-in data set.")] = "glyphs",
    learner: Annotated[list[str] | None, typer.Option(help="One or more.", show_default="protonet and maml")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    iterations: Annotated[int, typer.Option(min=1, help="In each round.")] = 4,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    settings: Settings = None,
    data_root: DataRoot = None,
) -> None:
    """Times all strategies and prints milliseconds an iteration and multiples of Vanilla's."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    data = TrialData.of(open_dataset(dataset, find_root(data_root)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in learner or ["protonet", "maml"]:
        names = [strategy for strategy, kind in STRATEGIES.items() if name not in kind.refused_learners]
        runs = {}
        for strategy in names:
            layers = Layers(PRESETS, "training.preset")
            layers.add(parse_settings(settings or []), "--set")
            layers.add({"dataset": dataset, "learner.name": name, "strategy.name": strategy}, "flag")
            config = TrialConfig.of(layers.nested())
            runs[strategy] = make_training(config, data, device, partition(config, data.base, device))
        seconds: dict[str, list[float]] = {strategy: [] for strategy in names}
        for turn in range(rounds + 1):
            for strategy, training in runs.items():
                began = time.perf_counter()
                training.advance(training.iteration + iterations)
                if turn:  # the first one warms up
                    seconds[strategy].append((time.perf_counter() - began) / iterations)
        rows = []
        for strategy in names:
            ratios = [own / plain for own, plain in zip(seconds[strategy], seconds["vanilla"], strict=True)]
            milliseconds = 1000 * statistics.median(seconds[strategy])
            rows.append(
                {
                    "learner": name,
                    "strategy": strategy,
                    "ms an iteration": round(milliseconds, 1),
                    "times vanilla": round(statistics.median(ratios), 2),
                }
            )
        print_rows(rows, console())


if __name__ == "__main__":
    run_command(strategy_speed)
