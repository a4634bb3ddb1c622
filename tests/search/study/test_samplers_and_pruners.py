"""Contract of every sampler and pruner: on the study in memory, suggestions and decisions follow from what is stored alone."""

import itertools

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from datg.search.study import PRUNERS, SAMPLERS
from datg.search.study.memory import MemoryStudy
from datg.search.study.pruners import first_rung
from datg.search.study.samplers import SobolSampler, quantile, sampler_for
from datg.search.study.stored import PruningState, open_study, sqlite_url

KEYS = ("x", "n", "y")
STEPS = 9


def ask(trial):
    trial.suggest_float("x", 0, 1)
    trial.suggest_int("n", 1, 90)
    trial.suggest_float("y", 1e-3, 1, log=True)


def suggest(memory, sampler, trials, seed=1):
    made = sampler_for(sampler, seed=seed, number=len(memory), trials=trials, keys=KEYS)
    return memory.suggest(made, ask)


@pytest.mark.matrix
@pytest.mark.parametrize(("sampler", "pruner"), list(itertools.product(SAMPLERS, PRUNERS)))
def test_a_study_rebuilt_from_the_database_before_every_trial_decides_as_one_that_lives(sampler, pruner, tmp_path):
    def run(path, *, rebuild):
        stored = open_study(sqlite_url(path), "s", create=True)
        memory, decided = MemoryStudy("s", PRUNERS[pruner](STEPS), []), []
        for number in range(6):
            if rebuild:
                memory = MemoryStudy("s", PRUNERS[pruner](STEPS), open_study(sqlite_url(path), "s").trials())
            trial = suggest(memory, sampler, 6)
            stored.add(trial)
            decided.append(trial.params)
            for step in range(1, STEPS + 1):
                value = trial.params["x"] * step
                prune, notes = memory.report(number, value, step, ask_pruner=True)
                stored.record_report(number, PruningState(step, value, 0.1, prune, notes), value)
                decided.append((prune, notes))
                if prune:
                    break
                if rebuild and step == 4:
                    memory = MemoryStudy("s", PRUNERS[pruner](STEPS), open_study(sqlite_url(path), "s").trials())
            for study, error in ((memory, ()), (stored, ("",))):
                study.end(number, "pruned" if prune else "finished", *error, value)
        return decided

    whole = run(tmp_path / "a.db", rebuild=False)
    assert whole == run(tmp_path / "b.db", rebuild=True)
    pruned = sum(entry[0] for entry in whole if isinstance(entry, tuple))
    assert (pruned == 0) if pruner == "none" else (pruned < 6)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_no_suggestion_is_repeated_before_a_model_knows_anything_and_seeds_differ(sampler):
    def suggestions(seed):
        memory = MemoryStudy("s", PRUNERS["none"](1), [])
        return [tuple(suggest(memory, sampler, 10, seed).params.values()) for _ in range(5)]

    assert len(set(suggestions(1))) == 5 and suggestions(1) != suggestions(2) and suggestions(1) == suggestions(1)


def test_rungs_of_halving_are_rounded_up():
    for steps in range(1, 61):
        assert 4 * first_rung(steps) >= steps > 4 * (first_rung(steps) - 1)


@pytest.mark.parametrize(
    ("distribution", "fraction", "expected"),
    [
        (FloatDistribution(2, 4), 0.25, 2.5),
        (FloatDistribution(0.01, 1, log=True), 0.5, 0.1),
        (IntDistribution(1, 4), 0.0, 1),
        (IntDistribution(1, 4), 0.999, 4),
        (IntDistribution(3, 3), 0.7, 3),
        (CategoricalDistribution(["a", "b"]), 0.49, "a"),
        (CategoricalDistribution(["a", "b"]), 0.5, "b"),
    ],
)
def test_a_fraction_of_a_range_is_its_quantile(distribution, fraction, expected):
    assert quantile(distribution, fraction) == pytest.approx(expected)


def test_qmc_fills_every_quarter_of_every_key_evenly_also_where_a_bound_is_another_value():
    points = []
    memory = MemoryStudy("s", PRUNERS["none"](1), [])
    for number in range(16):
        made = sampler_for("qmc", seed=5, number=number, trials=16, keys=("low", "high"))
        assert isinstance(made, SobolSampler)
        params = memory.suggest(
            made, lambda trial: trial.suggest_float("high", trial.suggest_float("low", 0, 1), 2)
        ).params
        points.append((params["low"], (params["high"] - params["low"]) / (2 - params["low"])))
    for axis in zip(*points, strict=True):
        assert sorted(int(4 * value) for value in axis) == [quarter for quarter in range(4) for _ in range(4)]
