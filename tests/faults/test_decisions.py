"""What is suggested and pruned does not depend on how often the driver died, nor on where."""

import random

import pytest

from datg.search.state.folder import SearchFolder
from tests.faults.scripted import Crash, crash_at, decisions, drive, run, stored_trials
from tests.search.conftest import settings_for

pytestmark = pytest.mark.fault


def folder_in(path, name):
    (path / name).mkdir()
    return SearchFolder(path / name)


def same_search(settings, tmp_path, crashes):
    """Runs a search whole, and again with the driver dying after each of ``crashes`` writes; checks that they are equal."""
    whole = drive(folder_in(tmp_path, "whole"), settings)
    run(whole)
    cut, died, wrote = folder_in(tmp_path, "cut"), 0, set()
    for writes in crashes:
        with crash_at(writes) as made:
            try:
                run(drive(cut, settings))
            except Crash:
                died += 1
                wrote.add(made[-1])
    again = drive(cut, settings)
    run(again)
    assert decisions(again) == decisions(whole)
    states = {trial.state.name for trial in stored_trials(again)}
    assert len(stored_trials(again)) == settings.trials and "RUNNING" not in states
    return died, wrote, states


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [("tpe", "halving")]
    + [
        pytest.param(*pair, marks=pytest.mark.slow)
        for pair in (
            ("tpe", "hyperband"),
            ("gp", "median"),
            ("gp", "halving"),
            ("random", "hyperband"),
            ("qmc", "halving"),
        )
    ],
)
def test_a_search_whose_driver_dies_again_and_again_decides_as_one_that_lives(
    sampler, pruner, glyphs, data_root, tmp_path
):
    settings = settings_for(
        glyphs, data_root, search__trials=14, search__sampler=sampler, search__pruner=pruner, training__eval_every=5
    )
    between = random.Random(7)
    crashes = [*range(1, 9), *(between.randint(3, 30) for _ in range(20))]
    died, wrote, states = same_search(settings, tmp_path, crashes)
    assert died >= 16 and len(wrote) >= 4, "many different writes were interrupted"
    assert "COMPLETE" in states and (pruner == "none" or "PRUNED" in states)


@pytest.mark.slow
def test_a_hundred_trials_interrupted_at_ten_points_are_the_same(glyphs, data_root, tmp_path):
    settings = settings_for(glyphs, data_root, search__trials=100, training__eval_every=5)
    between = random.Random(0)
    died, _, states = same_search(settings, tmp_path, [between.randint(30, 200) for _ in range(10)])
    assert died == 10 and states == {"COMPLETE", "PRUNED"}
