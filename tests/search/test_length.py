"""How long a search will take: what is timed, and how it is extrapolated."""

import pytest

from datg.search import length
from datg.search.length import Length, measure_length
from tests.search.conftest import settings_for


@pytest.mark.parametrize(
    ("once", "each", "block", "tasks"),
    [(0.0, 0.01, 10, 500), (1.5, 0.002, 50, 2000), (3.0, 0.5, 4, 20_000), (0.1, 0.1, 8, 8)],
)
def test_an_evaluation_takes_what_is_done_once_and_its_tasks(once, each, block, tasks, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(length.time, "perf_counter", lambda: now[0])
    done = []

    def run(progress):
        now[0] += once
        for last in range(block, tasks + 1, block):
            now[0] += each * block
            done.append(last)
            progress(last)

    assert length._seconds_of_tasks(tasks, run) == pytest.approx(once + each * tasks)
    assert len(done) < 3 or each * done[-2] + once <= length.SECONDS, "no longer than is needed to know"


def test_every_training_counts_by_its_learner_and_strategy(glyphs, data_root, monkeypatch):
    settings = settings_for(glyphs, data_root, search__trials=7)
    other = {"strategy": {"name": "vanilla"}}
    settings = settings.model_copy(update={"references": {"vanilla": other}})
    seconds = {("protonet", settings.config.strategy_name): 10.0, ("protonet", "vanilla"): 3.0}
    monkeypatch.setattr(length, "_seconds", lambda config, *_: seconds[length._kind(config)])
    found = measure_length([settings], glyphs, threads=1, on_gpu=False)
    assert (found.seconds, found.trainings) == (73.0, 8)
    assert [found.at_once(number) for number in (1, 2, 8, 100)] == [73.0, 36.5, 73.0 / 8, 73.0 / 8]


@pytest.mark.parametrize("strategy", ["datg", "vanilla"])
def test_a_training_is_really_timed(strategy, glyphs, data_root, monkeypatch):
    monkeypatch.setattr(length, "SECONDS", 0.2)
    settings = settings_for(glyphs, data_root, strategy__name=strategy, search__trials=1)
    found = measure_length([settings], glyphs, threads=1, on_gpu=False)
    assert isinstance(found, Length) and 0.01 < found.seconds < 600


def test_features_of_a_network_that_is_not_there_yet_are_no_hindrance(glyphs, data_root, monkeypatch):
    monkeypatch.setattr(length, "SECONDS", 0.1)
    settings = settings_for(glyphs, data_root, strategy__cluster_features="embedding", search__trials=1)
    found = measure_length([settings, settings], glyphs, threads=1, on_gpu=False)
    assert found.seconds > 0 and found.trainings == 4, "the networks are trained, too"
