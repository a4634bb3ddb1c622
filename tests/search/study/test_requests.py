"""Hand-picked trials, trials that a user stops, and what another search has found: with a scripted driver."""

import contextlib
import json
import math

import pytest
from optuna.trial import TrialState

from datg.errors import ConfigError, StateError
from datg.search.enqueued import check_places, read_enqueued
from datg.search.knowledge import Knowledge, gather, save
from datg.search.state.folder import SearchFolder
from datg.search.state.inbox import ENQUEUE, STOP_TRIAL, Inbox
from datg.search.study import requests
from datg.search.study.driver import ON_REQUEST, REQUEST
from datg.storage.files import read_yaml, write_yaml
from datg.strategies.vanilla import Vanilla
from datg.trial.folder import STOP
from datg.trial.records import read_outcome
from tests.faults.scripted import Crash, crash_at, decisions, run
from tests.search.conftest import settings_for
from tests.search.study.test_driver import progress_of, report, run_one, start, stored_trials

PICKED = {"strategy.alpha": 0.7, "strategy.beta": 1.5}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(requests, "SECONDS_BETWEEN_LOOKS", 0.0)


@pytest.fixture
def settings(glyphs, data_root):
    return settings_for(glyphs, data_root)


def test_enqueued_trials_come_after_the_papers_and_others_values_are_suggested(folder, settings):
    Inbox(folder).put_once(ENQUEUE, [PICKED, {"strategy.clusters": 3}])
    driver = start(folder, settings)
    while (number := driver.next_trial()) is not None:
        run_one(driver, number)
    trials = stored_trials(driver)
    assert len(trials) == settings.trials and trials[0].params["strategy.alpha"] == 2.0
    assert {key: trials[1].params[key] for key in PICKED} == PICKED and trials[2].params["strategy.clusters"] == 3
    assert set(trials[1].params) == set(settings.space) and REQUEST not in trials[3].user_attrs
    assert [read_yaml(path)["answer"] for path in sorted((folder.inbox / "done").iterdir(), key=order)] == [
        "trial 1",
        "trial 2",
    ]
    again = Inbox(folder)
    again.put_once(ENQUEUE, [PICKED, {"strategy.clusters": 3}])
    assert again.pending() == [] and again.not_put_yet([PICKED]) == [], "the same command may be called again"
    assert again.not_put_yet([PICKED, PICKED]) == [PICKED]


def order(path):
    return read_yaml(path)["asked"]


def test_a_search_of_a_comparison_takes_no_trial_by_hand(settings):
    with pytest.raises(ConfigError, match="this search is one of grid, whose searches are alike"):
        read_enqueued(["strategy.alpha=1"], settings.model_copy(update={"comparison": "grid"}))


def test_a_trial_is_enqueued_into_a_search_that_runs(folder, settings):
    driver = start(folder, settings)
    run_one(driver, driver.next_trial())
    name = Inbox(folder).put(ENQUEUE, PICKED)
    driver.take_requests()
    number = driver.next_trial()
    assert Inbox(folder).answer_to(name) == "trial 1" and stored_trials(driver)[number].params["strategy.alpha"] == 0.7


def test_an_enqueued_trial_that_has_no_place_waits_for_more_trials_and_a_wrong_one_is_told(folder, settings):
    driver = start(folder, settings)
    for _ in range(settings.trials):
        driver.next_trial()
    names = [Inbox(folder).put(ENQUEUE, PICKED), Inbox(folder).put(ENQUEUE, {"strategy.alpha": -1})]
    driver.take_requests()
    assert driver.next_trial() is None and Inbox(folder).answer_to(names[0]) is None
    assert "strategy.alpha must be a number from 0.1 to 10, got -1" in Inbox(folder).answer_to(names[1])
    driver.flush()
    longer = start(folder, settings.model_copy(update={"trials": settings.trials + 1}))
    numbers = [longer.next_trial() for _ in range(settings.trials + 1)]
    assert Inbox(folder).answer_to(names[0]) == f"trial {numbers[-1]}"


DAMAGED = {
    "text": "{",
    "a list": "- 1",
    "values that are none": "{kind: enqueue, asked: 1.0, values: 5}",
    "a list of values": "{kind: enqueue, asked: 1.0, values: [1]}",
    "a date": "{kind: enqueue, asked: 2026-01-01, values: {}}",
    "a trial without a number": "{kind: stop_trial, asked: 1.0, values: {trial: [1]}}",
}


def test_what_is_no_request_is_answered_and_harms_nothing(folder, settings):
    folder.inbox.mkdir()
    (folder.inbox / "folder.yaml").mkdir()
    for name, text in DAMAGED.items():
        (folder.inbox / f"{name}.yaml").write_text(text)
    write_yaml(folder.inbox / "other.yaml", {"kind": "dance", "asked": 1.0, "values": {}})
    kept = Inbox(folder).put(ENQUEUE, PICKED)
    driver = start(folder, settings)
    assert all("it is no request" in Inbox(folder).answer_to(name) for name in DAMAGED)
    assert "no request of the kind dance" in Inbox(folder).answer_to("other")
    assert [driver.next_trial(), driver.next_trial()] == [0, 1] and Inbox(folder).answer_to(kept) == "trial 1"


def test_a_driver_that_dies_anywhere_enqueues_once(tmp_path, settings):
    def enqueued_in(folder):
        trials = stored_trials(start(folder, settings))
        return [trial.number for trial in trials if REQUEST in trial.user_attrs], trials

    for write in (2, 3, 4, 5, 6, 9, 14):
        folder = SearchFolder(tmp_path / str(write))
        folder.path.mkdir()
        Inbox(folder).put_once(ENQUEUE, [PICKED])
        start(folder, settings).close()
        with crash_at(write), contextlib.suppress(Crash):
            run(start(folder, settings))
        again = start(folder, settings)
        run(again)
        numbers, trials = enqueued_in(folder)
        assert numbers == [1] and trials[1].params["strategy.alpha"] == 0.7
        assert len(trials) == settings.trials and Inbox(folder).pending() == []


@pytest.mark.parametrize("validations", [0, 2])
def test_a_trial_that_a_user_stops_saves_and_ends_as_pruned(folder, settings, validations):
    driver = start(folder, settings)
    driver.next_trial()
    other = driver.next_trial()
    entries = [progress_of(10 * step, 0.1 * step) for step in range(1, validations + 1)]
    if entries:
        assert not report(driver, 0, *entries)
    name = Inbox(folder).put(STOP_TRIAL, {"trial": 0})
    driver.take_requests()
    assert Inbox(folder).answer_to(name) == "trial 0 is stopped" and (folder.trial(0) / STOP).exists()
    assert not (folder.trial(other) / STOP).exists()
    assert report(driver, 0, *entries, progress_of(30, 0.9)), "a validation that was under way counts"
    driver.finish(0, "interrupted")
    outcome = read_outcome(folder.trial(0))
    assert (outcome.outcome, outcome.error) == ("pruned", ON_REQUEST) and not (folder.trial(0) / STOP).exists()
    trial = stored_trials(driver)[0]
    assert trial.state == TrialState.PRUNED and trial.intermediate_values[3] == 0.9
    assert len(trial.intermediate_values) == validations + 1


def test_a_stop_is_kept_by_the_next_driver(folder, settings):
    driver = start(folder, settings)
    driver.next_trial()
    Inbox(folder).put(STOP_TRIAL, {"trial": 0})
    driver.take_requests()
    driver.flush()  # killed
    driver = start(folder, settings)
    number = driver.next_trial()
    assert number == 0 and driver.report(0), "its process is told at once"
    driver.finish(0, "interrupted")
    assert read_outcome(folder.trial(0)).outcome == "pruned"


def test_a_trial_that_nobody_works_on_ends_at_once_and_others_are_told(folder, settings):
    driver = start(folder, settings)
    run_one(driver, driver.next_trial())
    waiting = driver.next_trial()
    driver.release(waiting, again_after=1000.0)
    names = [Inbox(folder).put(STOP_TRIAL, {"trial": number}) for number in (waiting, 0, 17)]
    driver.take_requests()
    told = [Inbox(folder).answer_to(name) for name in names]
    assert told == [f"trial {waiting} is stopped", "trial 0 has ended: finished", "trial 17 does not run"]
    assert read_outcome(folder.trial(waiting)).outcome == "pruned" and driver.next_trial() == waiting + 1


WRONG = {
    "strategy.alhpa=1": r"strategy.alhpa.* did you mean .strategy.alpha",
    "strategy.alpha=99": "strategy.alpha must be a number from 0.1 to 10, got 99",
    "strategy.clusters=2.5": "strategy.clusters must be a whole number from 2 to 8, got 2.5",
    "strategy.alpha=high": "strategy.alpha must be a number from 0.1 to 10, got high",
    "strategy.mix_high=2": "strategy.mix_high depends on strategy.mix_low; give both",
    "strategy.mix_low=3,strategy.mix_high=2": "strategy.mix_high must be a whole number from 3 to 4, got 2",
    "training.lr=0.1": "training.lr",
    "nothing": "must be KEY=VALUE,KEY=VALUE or a YAML file that exists, got nothing",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_enqueued_is_refused_by_name(text, settings):
    with pytest.raises(ConfigError, match=WRONG[text]):
        read_enqueued([text], settings)


def test_trials_are_enqueued_from_files_and_exports(tmp_path, settings):
    several = tmp_path / "several.yaml"
    several.write_text("- {strategy.alpha: 1}\n- strategy: {mix_low: 1, mix_high: 2}\n")
    assert read_enqueued([str(several)], settings) == [
        {"strategy.alpha": 1.0},
        {"strategy.mix_low": 1, "strategy.mix_high": 2},
    ]
    write_yaml(tmp_path / "best.yaml", {"config": settings.config.to_dict(), "provenance": {}})
    (exported,) = read_enqueued([str(tmp_path / "best.yaml")], settings)
    assert exported["strategy.alpha"] == 2.0 and set(exported) <= set(settings.space)
    other = settings.config.model_copy(update={"strategy": Vanilla()})
    write_yaml(tmp_path / "other.yaml", {"config": other.to_dict()})
    with pytest.raises(ConfigError, match="the configuration is of strategy vanilla, but datg is searched"):
        read_enqueued([str(tmp_path / "other.yaml")], settings)
    many = ",".join(f"{key}=1.{'0' * 60}" for key in ("strategy.alpha", "strategy.beta", "strategy.mmd_weight"))
    assert read_enqueued([f"{many},"], settings)[0]["strategy.beta"] == 1.0, "too long for the name of a file"
    assert read_enqueued(["strategy.mmd_weight=1e-2"], settings) == [{"strategy.mmd_weight": 0.01}]


def test_more_than_a_search_has_left_are_refused(settings):
    assert settings.trials == 6
    with pytest.raises(ConfigError, match="asks for 3 trials, but 2 of the 6 are left; make room: .* mine --trials 7"):
        check_places([{}] * 3, settings, begun=3, waiting=1, resume="datg search --resume mine")
    check_places([{}] * 5, settings, begun=0)
    with pytest.raises(
        ConfigError, match="5 of the 6 are left, trial 0 is the method's own setting; make room: --trials 7"
    ):
        check_places([{}] * 6, settings, begun=0)


def finished_search(path, settings):
    path.mkdir()
    folder = SearchFolder(path)
    settings.save(folder)
    driver = start(folder, settings)
    run(driver)
    driver.close()
    return folder


def test_the_sampler_knows_another_search_and_nobody_else_does(tmp_path, settings, glyphs, data_root):
    before = finished_search(tmp_path / "before", settings_for(glyphs, data_root, search__trials=20))
    known = gather(before, settings)
    assert known.search == "before" and len(known.params) >= 5 and "the sampler knows" in known.remark

    def search(name, knowledge):
        folder = SearchFolder(tmp_path / name)
        folder.path.mkdir()
        if knowledge is not None:
            save(folder, knowledge)
        own = settings.model_copy(update={"warm_start": "" if knowledge is None else "before", "id": "same"})
        return folder, own, start(folder, own)

    cold, warm = (search(name, knowledge)[2] for name, knowledge in (("cold", None), ("warm", known)))
    for driver in (cold, warm):
        run(driver)
        assert len(stored_trials(driver)) == settings.trials == sum(driver.progress.outcomes.values())
    assert decisions(warm)[0] == decisions(cold)[0], "the method's own setting comes first"
    assert decisions(warm) != decisions(cold)
    # The same decisions by a driver that dies after every write.
    folder, own, driver = search("killed", known)
    driver.close()
    for write in (3, 6, 9, 12):
        with crash_at(write), contextlib.suppress(Crash):
            run(start(folder, own))
    again = start(folder, own)
    run(again)
    assert decisions(again) == decisions(warm)
    narrow = {**own.space, "strategy.alpha": {"log": [1.9, 2.1]}}
    start(folder, own.model_copy(update={"space": narrow})).close()  # what lies outside by now is passed over
    folder.warm_start.write_text("{")
    with pytest.raises(StateError, match="cannot be read"):
        start(folder, own)


def test_knowledge_of_infeasible_places_moves_the_sampler_away(tmp_path, settings):
    """TPE learns from it: where all good trials of the other search lie, more of the own ones do."""
    space = list(settings.space)
    base = {
        "strategy.clusters": 3, "strategy.beta": 1.0, "strategy.mix_low": 0, "strategy.mix_high": 2,
        "strategy.mmd_bandwidth": 1.0, "strategy.mmd_weight": 1.0,
    }  # fmt: skip
    alphas = [0.1 * 100 ** (index / 39) for index in range(40)]
    params = [{key: {**base, "strategy.alpha": alpha}[key] for key in space} for alpha in alphas]
    means = []
    for centre in (0.2, 5.0):
        values = [1 - abs(math.log(alpha / centre)) / 5 for alpha in alphas]
        folder = SearchFolder(tmp_path / str(centre))
        folder.path.mkdir()
        save(folder, Knowledge("before", "", params, values))
        driver = start(folder, settings.model_copy(update={"warm_start": "before", "trials": 12}))
        numbers = [driver.next_trial() for _ in range(12)]
        drawn = [math.log(stored_trials(driver)[number].params["strategy.alpha"]) for number in numbers[1:]]
        means.append(sum(drawn) / len(drawn))
    assert means[0] < means[1] - 1


REFUSED = {
    "other keys": ({"strategy__name": "random_mixup"}, {}, "searches other keys than this search would"),
    "other tasks": ({"task__shots": 3}, {}, "measures accuracy on tasks of"),
    "no sampler that learns": (
        {},
        {"search__sampler": "random"},
        r"needs a sampler that learns \(tpe or gp\), got random",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_search_cannot_learn_from_is_refused_by_name(name, tmp_path, glyphs, data_root):
    theirs, ours, said = REFUSED[name]
    before = finished_search(tmp_path / "before", settings_for(glyphs, data_root, **theirs))
    with pytest.raises(ConfigError, match=said):
        gather(before, settings_for(glyphs, data_root, **ours))


def test_other_data_and_lengths_are_taken_and_said_and_other_ranges_left_out(tmp_path, glyphs, data_root, settings):
    longer = finished_search(tmp_path / "longer", settings_for(glyphs, data_root, training__iterations=80))
    assert "training.iterations 80, here 40" in gather(longer, settings).remark
    narrow = {**settings.space, "strategy.alpha": {"log": [1.9, 2.1]}}
    known = gather(longer, settings.model_copy(update={"space": narrow}))
    assert all(1.9 <= params["strategy.alpha"] <= 2.1 for params in known.params) and "lie outside" in known.remark
    nowhere = settings.model_copy(update={"space": {**settings.space, "strategy.alpha": {"log": [9.98, 9.99]}}})
    with pytest.raises(ConfigError, match="no finished trial inside the ranges"):
        gather(longer, nowhere)
    assert json.loads(json.dumps(known.params)) == known.params
