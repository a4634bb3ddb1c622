"""How many trials does a search need that begins with what another one has found, beside one that begins with nothing?

    python launchers/search.py --dataset glyphs --name before --sampler random --pruner none --trials 40 --no-references \
        --set backbone.filters=8 --set training.iterations=100 --set training.eval_every=50 \
        --set evaluation.validation_tasks=1000
    python launchers/search.py --dataset glyphs --name after --sampler random --pruner none --trials 40 --no-references \
        --set backbone.filters=8 --set training.iterations=200 --set training.eval_every=100 \
        --set evaluation.validation_tasks=1000
    python -m benchmarks.warm_start runs/before runs/after

A simulation: a search tries the stored trials of ``after`` in the order of its sampler. What that suggests becomes the nearest
trial that was not tried yet (each range scaled to [0, 1]), and its stored validation accuracy the result. Counted are the trials
until one is within the half-width of the best's interval. The warm search knows the trials of ``before``; both have the same
sampler seeds.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from optuna.pruners import NopPruner

from datg.cli.console import console, progress_bar
from datg.cli.main import run_command
from datg.search.knowledge import gather
from datg.search.settings import SearchSettings
from datg.search.space import Range, as_trial, suggest
from datg.search.state.folder import SearchFolder
from datg.search.state.records import RecordReader
from datg.search.study.memory import MemoryStudy
from datg.search.study.samplers import sampler_for
from datg.trial.accuracies import over_tasks
from datg.trial.records import DONE

Floats = npt.NDArray[np.float64]


def warm_start(
    before: Annotated[Path, typer.Argument(help="A search whose trials are known.")],
    after: Annotated[Path, typer.Argument(help="A search over the same keys, whose trials are played again.")],
    seeds: Annotated[int, typer.Option(min=2, help="Simulated searches of each kind.")] = 100,
    sampler: Annotated[str, typer.Option(help="What suggests: tpe or gp.")] = "tpe",
) -> None:
    """Print how many trials a cold and a warm search need."""
    settings = SearchSettings.load(SearchFolder(after)).model_copy(update={"sampler": sampler})
    records = [
        r for r in RecordReader(SearchFolder(after), settings).records() if r.state == DONE and r.last is not None
    ]
    known = gather(SearchFolder(before), settings)
    best = max(records, key=lambda record: record.objective or 0.0)
    assert best.last is not None
    goal = best.last.objective - best.last.objective_ci95
    good = sum((record.objective or 0.0) >= goal for record in records)
    places = np.array([_place(record.searched, settings.ranges, settings.bounds) for record in records])
    values = [record.objective or 0.0 for record in records]
    needed: dict[str, list[int]] = {"cold": [], "warm": []}
    with progress_bar(console()) as show:
        for seed in range(seeds):
            for name, found in needed.items():
                knowledge = zip(known.params, known.values, strict=True) if name == "warm" else ()
                trials = [as_trial(params, value, settings.ranges, settings.bounds) for params, value in knowledge]
                memory = MemoryStudy(f"{name}-{seed}", NopPruner(), [], trials)
                found.append(_play(memory, settings, seed, places, values, goal))
            show("simulated searches", seed + 1, seeds)
    cold, warm = (np.array(needed[name], dtype=np.float64) for name in ("cold", "warm"))
    within = f"{good} of them within {best.last.objective_ci95:.4f} of the best"
    print(f"{known.remark}; {len(records)} trials of {after.name}, {within}")
    for name, trials_needed in (("cold", cold), ("warm", warm), ("warm minus cold, paired by seed", warm - cold)):
        mean = over_tasks(trials_needed)
        print(f"{name}: {mean.value:.2f} ± {mean.ci95:.2f} trials ({sampler}, {seeds} sampler seeds)")
    print(f"drawn blindly: {(len(records) + 1) / (good + 1):.2f} trials on average")


def _play(
    memory: MemoryStudy, settings: SearchSettings, seed: int, places: Floats, values: list[float], goal: float
) -> int:
    """Return after how many trials one has reached the goal."""
    left = np.ones(len(places), dtype=bool)
    for number in range(len(places)):
        keys = [entry.key for entry in settings.ranges]
        sampler = sampler_for(settings.sampler, seed=seed, number=number, trials=len(places), keys=keys)
        trial = memory.suggest(sampler, lambda handle: suggest(handle, settings.ranges, settings.bounds))
        distances = np.abs(places - _place(trial.params, settings.ranges, settings.bounds)).sum(1)
        chosen = int(np.where(left, distances, np.inf).argmin())
        left[chosen] = False
        memory.end(number, "finished", values[chosen])
        if values[chosen] >= goal:
            return number + 1
    raise AssertionError("the best trial reaches the goal")


def _place(params: dict[str, Any], ranges: list[Range], bounds: dict[str, Any]) -> Floats:
    """Return numeric values scaled to [0, 1] by the widest range that they may have."""
    place = []
    for entry in ranges:
        values = entry.resolved({**params, **bounds})  # a bound that is a searched key: where the configuration has it
        if entry.kind == "choice":
            place.append(values.index(params[entry.key]) / max(1, len(values) - 1))
            continue
        low, high, value = (float(number) for number in (*values, params[entry.key]))
        if entry.kind == "log":
            low, high, value = math.log(low), math.log(high), math.log(value)
        place.append((value - low) / (high - low) if high > low else 0.0)
    return np.array(place)


if __name__ == "__main__":
    run_command(warm_start)
