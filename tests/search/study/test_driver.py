"""The driver with a scripted trial in place of a real one: what it asks, what it tells, what a resume finds."""

import json
import time
from collections import Counter
from dataclasses import replace
from unittest import mock

import pytest
from optuna.trial import TrialState

from datg.cli.messages import status_line
from datg.errors import ConfigError, StateError
from datg.report.status import read_status
from datg.search.settings import SearchSettings
from datg.search.state.folder import DriverLock, find_folder, new_folder
from datg.search.state.records import RecordReader
from datg.search.study import PRUNERS, SAMPLERS
from datg.search.study.driver import SearchDriver
from datg.search.study.progress import SearchProgress
from datg.search.study.stored import open_study, pruning_state, sqlite_url
from datg.storage.files import read_yaml, write_yaml
from datg.trial.config import TrialConfig
from datg.trial.folder import NOW, Now, ValidationReport, tell_now
from datg.trial.records import FAILURES, OUTCOME, TrialOutcome, write_outcome
from tests.faults.scripted import save_progress, stored_trials
from tests.search.conftest import settings_for


def start(folder, settings):
    create = not folder.study.exists()
    return SearchDriver(folder, settings, open_study(sqlite_url(folder.study), folder.name, create=create))


def report(driver, number, *entries):
    """What a trial's process does, and what the driver then says."""
    save_progress(driver, number, *entries)
    return driver.report(number)


def progress_of(iteration, accuracy):
    return ValidationReport(iteration, 1.0, 1.0, {"loss": 1.0, "ce": 1.0}, accuracy, 0.01, accuracy, 0.01, iteration)


def score(config):
    """A scripted objective: best at alpha = 1."""
    return 1 / (1 + abs(config["strategy"]["alpha"] - 1))


def run_one(driver, number):
    config = read_yaml(driver.folder.trial(number) / "config.yaml")
    for iteration in (10, 20, 30, 40):
        if report(driver, number, progress_of(iteration, score(config) * iteration / 40)):
            break
    driver.finish(number, "finished")


@pytest.fixture
def settings(glyphs, data_root):
    return settings_for(glyphs, data_root)


def test_a_search_has_exactly_the_asked_number_of_trials_and_the_paper_is_its_first(folder, settings):
    driver = start(folder, settings)
    while (number := driver.next_trial()) is not None:
        run_one(driver, number)
    trials = stored_trials(driver)
    assert len(trials) == settings.trials and all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials)
    assert trials[0].params["strategy.alpha"] == 2.0 and trials[0].params["strategy.mix_high"] == 4
    assert driver.progress.outcomes.total() == settings.trials
    best = max(pruning_state(t).objective for t in trials)
    assert driver.progress.best[1] == best
    assert f"best of {len(driver.progress.scored)} {best:.4f}" in status_line(driver.progress)


def test_a_killed_driver_loses_nothing_and_doubles_nothing(folder, settings):
    driver = start(folder, settings)
    run_one(driver, driver.next_trial())
    second, third = driver.next_trial(), driver.next_trial()
    report(driver, second, progress_of(10, 0.3))
    configs = {n: read_yaml(folder.trial(n) / "config.yaml") for n in (second, third)}
    driver.flush()  # killed: nothing was told

    driver = start(folder, settings)
    assert driver.progress.outcomes == Counter({"finished": 1})
    assert [driver.next_trial(), driver.next_trial()] == [second, third], "what was running comes first"
    assert {n: read_yaml(folder.trial(n) / "config.yaml") for n in (second, third)} == configs
    driver.report(second)  # the last validation, once more
    values = stored_trials(driver)[second].intermediate_values
    assert values == {1: 0.3}
    run_one(driver, second)
    run_one(driver, third)
    while (number := driver.next_trial()) is not None:
        run_one(driver, number)
    states = Counter(trial.state for trial in stored_trials(driver))
    assert states.total() == settings.trials and TrialState.RUNNING not in states


def test_more_trials_prolong_a_finished_search(folder, settings):
    driver = start(folder, settings)
    while (number := driver.next_trial()) is not None:
        run_one(driver, number)
    longer = start(folder, settings.model_copy(update={"trials": settings.trials + 2}))
    numbers = []
    while (number := longer.next_trial()) is not None:
        numbers.append(number)
        run_one(longer, number)
    assert numbers == [settings.trials, settings.trials + 1]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("finished", TrialState.COMPLETE),
        ("collapsed", TrialState.COMPLETE),
        ("diverged", TrialState.PRUNED),
        ("error", TrialState.PRUNED),
        ("failed", TrialState.RUNNING),
    ],
)
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_outcome_has_its_state(folder, glyphs, data_root, outcome, state, sampler):
    settings = settings_for(glyphs, data_root, search__sampler=sampler)
    driver = start(folder, settings)
    for _ in range(3):
        number = driver.next_trial()
        save_progress(driver, number, *(progress_of(step, 0.3) for step in (10, 20, 30, 40)))
        driver.finish(number, outcome, "a reason" if outcome in FAILURES else "")
    trial = stored_trials(driver)[0]
    assert trial.state == state and trial.user_attrs["outcome"] == outcome
    record = RecordReader(folder, settings).records()[0]
    assert record.state == ("failed" if outcome in FAILURES else "done")
    assert record.error == ("a reason" if outcome in FAILURES else "")
    assert trial.constraints == ({} if outcome == "failed" else {"broken": float(outcome in ("diverged", "error"))})
    noted = json.loads((folder.trial(0) / OUTCOME).read_text())
    assert (noted["outcome"], noted["error"]) == (outcome, record.error)


def test_a_trial_that_diverged_before_its_first_validation_is_told_too(folder, settings):
    driver = start(folder, settings)
    number = driver.next_trial()
    driver.finish(number, "diverged", "nan")
    assert stored_trials(driver)[0].state == TrialState.PRUNED
    assert driver.next_trial() == 1


def test_an_unpromising_trial_is_pruned_and_stays_so(folder, glyphs, data_root):
    settings = settings_for(glyphs, data_root, search__pruner="median", search__trials=10)
    driver = start(folder, settings)
    for _ in range(5):
        run_one(driver, driver.next_trial())
    number = driver.next_trial()
    assert [report(driver, number, progress_of(i, 0.0)) for i in (10, 20)][-1]
    driver.finish(number, "failed", "Tune has no outcome for a trial that it stopped")
    assert stored_trials(driver)[number].state == TrialState.PRUNED
    assert not stored_trials(driver)[number].user_attrs["error"]
    assert driver.progress.outcomes["pruned"] >= 1


@pytest.mark.parametrize("pruner", [name for name in PRUNERS if name != "none"])
def test_the_setting_that_a_search_begins_from_is_never_pruned(pruner, folder, glyphs, data_root):
    settings = settings_for(glyphs, data_root, search__pruner=pruner, search__trials=12, training__eval_every=2)
    driver = start(folder, settings)
    own, *others = [driver.next_trial() for _ in range(12)]
    steps = range(2, 41, 2)
    for number in others[:-1]:
        report(driver, number, *(progress_of(step, 0.5 + number / 100) for step in steps))
        driver.finish(number, "finished")
    bad = [progress_of(step, 0.1) for step in steps]
    assert report(driver, others[-1], *bad), "another trial that is as bad is pruned"
    assert not report(driver, own, *bad)
    driver.finish(own, "finished")
    assert stored_trials(driver)[own].state == TrialState.COMPLETE


def test_settings_survive_their_file(folder, settings):
    settings.save(folder)
    assert SearchSettings.load(folder) == settings
    assert TrialConfig.from_dict(settings.config.to_dict()) == settings.config
    for damage in (lambda: folder.settings.write_text("config: {}"), folder.settings.unlink):
        damage()
        with pytest.raises(StateError, match="damaged or missing, and there is no study beside it"):
            SearchSettings.load(folder)
    settings.remember(open_study(sqlite_url(folder.study), folder.name, create=True))
    assert SearchSettings.load(folder) == settings, "the study remembers"


def test_a_damaged_study_is_named(folder, settings):
    start(folder, settings)
    whole = folder.study.read_bytes()
    garbled = bytearray(whole)
    garbled[4096:20480] = b"x" * 16384
    damages = [
        b"this is no database, and it is long enough" * 100,
        whole[: len(whole) // 2],
        whole[:100],
        b"",
        bytes(garbled),
    ]
    for content in damages:
        folder.study.write_bytes(content)
        with pytest.raises(StateError, match=r"study.db.* (is damaged|is empty|cannot be opened).*still in trials/"):
            start(folder, settings)
        assert folder.study.read_bytes() == content, "and it is left as it was"


def test_folders_get_the_first_free_number(tmp_path):
    names = [new_folder(tmp_path, "glyphs").name for _ in range(3)]
    assert [name.rpartition("-")[2] for name in names] == ["1", "2", "3"]


def test_a_search_is_found_by_name_or_path_and_a_wrong_name_lists_them(tmp_path, settings):
    made = new_folder(tmp_path, "glyphs")
    settings.save(made)
    assert find_folder(tmp_path, made.name) == find_folder(tmp_path, str(made.path)) == made
    with pytest.raises(ConfigError, match=f"searches there: {made.name}"):
        find_folder(tmp_path, "glyphs-1")


def test_a_second_driver_is_refused_with_host_and_process(folder):
    with DriverLock(folder), pytest.raises(ConfigError, match="already driven by process"), DriverLock(folder):
        pass
    with DriverLock(folder):
        pass


def test_a_missing_study_is_not_begun_anew_in_silence(folder, settings):
    start(folder, settings)
    with pytest.raises(StateError, match="cannot be opened"):
        open_study(sqlite_url(folder.study), "another name")
    folder.study.unlink()
    with pytest.raises(StateError, match="study.db is missing"):
        open_study(sqlite_url(folder.study), folder.name)


def test_what_was_not_heard_is_heard_before_an_end_is_told(folder, glyphs, data_root):
    settings = settings_for(glyphs, data_root, search__pruner="none")
    driver = start(folder, settings)
    number = driver.next_trial()
    history = [progress_of(iteration, iteration / 100) for iteration in (10, 20, 30, 40)]
    report(driver, number, history[0])
    save_progress(driver, number, *history[1:])
    driver.finish(number, "finished")
    trial = stored_trials(driver)[number]
    assert trial.value == 0.4 and trial.intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}


def test_the_study_holds_the_latest_accuracies_and_a_trial_ends_with_its_best(folder, glyphs, data_root):
    settings = settings_for(glyphs, data_root, search__pruner="none")
    driver = start(folder, settings)
    number = driver.next_trial()
    for iteration, accuracy, best in ((10, 0.1, 0.1), (20, 0.4, 0.4), (30, 0.2, 0.4), (40, 0.3, 0.4)):
        report(driver, number, replace(progress_of(iteration, best), accuracy=accuracy))
    driver.finish(number, "finished")
    trial = stored_trials(driver)[number]
    assert trial.value == 0.4 and trial.intermediate_values == {1: 0.1, 2: 0.4, 3: 0.2, 4: 0.3}


def test_reports_that_a_dead_driver_missed_are_made_up_for(folder, settings):
    driver = start(folder, settings)
    number = driver.next_trial()
    report(driver, number, progress_of(10, 0.1))
    driver.flush()
    save_progress(driver, number, *(progress_of(iteration, iteration / 100) for iteration in (20, 30)))
    again = start(folder, settings)
    assert again.next_trial() == number
    again.report(number)
    assert stored_trials(again)[number].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3}


def test_a_trial_that_was_let_go_is_handed_out_again(folder, settings):
    driver = start(folder, settings)
    first, second = driver.next_trial(), driver.next_trial()
    driver.release(first, again_after=0.0)
    driver.release(second)
    assert driver.next_trial() == first
    assert driver.next_trial() == second + 1, "the other one is left to the next driver"
    assert [start(folder, settings).next_trial() for _ in range(1)] == [first]


def test_a_trial_that_broke_waits_before_it_is_handed_out_again(folder, settings):
    driver = start(folder, settings)
    first = driver.next_trial()
    driver.release(first, again_after=60)
    assert driver.next_trial() == first + 1, "others do not wait"
    driver.release(first + 1)
    numbers = []
    while (number := driver.next_trial()) is not None:
        numbers.append(number)
        run_one(driver, number)
    assert first not in numbers and driver.unsettled
    now = time.monotonic()
    with mock.patch("time.monotonic", lambda: now + 60):
        assert driver.next_trial() == first


def test_what_its_machine_broke_has_not_ended_and_is_no_trial_had(folder, settings):
    driver = start(folder, settings)
    broken = driver.next_trial()
    report(driver, broken, progress_of(10, 0.3))
    driver.finish(broken, "failed", "its process died")
    others = []
    while (number := driver.next_trial()) is not None:
        others.append(number)
        run_one(driver, number)
    assert len(others) == settings.trials - 1 and not driver.unsettled
    assert driver.all_tried and not driver.all_done and driver.selection().best.number in others
    assert driver.ended == others
    later = start(folder, settings)
    assert later.next_trial() == broken and "failed" not in later.progress.outcomes
    assert RecordReader(folder, settings).records()[broken].state == "running"
    run_one(later, broken)
    assert later.next_trial() is None and later.ended == sorted([broken, *others])
    assert all(trial.state.is_finished() for trial in stored_trials(later))
    assert stored_trials(later)[broken].user_attrs["error"] == ""


@pytest.mark.parametrize(("trials", "patience"), [(1, 3), (8, 4), (14, 7), (100, 10)])
def test_a_small_search_gives_up_after_half_of_its_trials(trials, patience, folder, glyphs, data_root):
    driver = start(folder, settings_for(glyphs, data_root, search__trials=trials))
    assert driver.patience == patience


def test_a_small_search_is_hopeless_only_where_nothing_works(folder, glyphs, data_root):
    driver = start(folder, settings_for(glyphs, data_root, search__trials=6))
    numbers = [driver.next_trial() for _ in range(6)]
    report(driver, numbers[5], progress_of(10, 0.3))
    for number in numbers[:3]:
        driver.finish(number, "diverged", "nan")
    assert not driver.hopeless, "one that runs has been validated"
    run_one(driver, numbers[5])
    for number in numbers[3:5]:
        driver.finish(number, "diverged", "nan")
    assert driver.all_tried and not driver.hopeless, "nothing is left to give up"


def test_a_small_search_in_which_all_fails_gives_up(folder, glyphs, data_root):
    driver = start(folder, settings_for(glyphs, data_root, search__trials=6))
    for number in [driver.next_trial() for _ in range(4)][:3]:
        assert not driver.hopeless
        driver.finish(number, "failed", "its process died")
    assert driver.hopeless


def test_ten_failures_in_a_row_are_hopeless(folder, glyphs, data_root):
    driver = start(folder, settings_for(glyphs, data_root, search__trials=30))
    for outcome in ["finished", *["failed", "error", "diverged"] * 3]:
        number = driver.next_trial()
        save_progress(driver, number, *(progress_of(step, 0.3) for step in (10, 20, 30, 40)))
        driver.finish(number, outcome)
        assert not driver.hopeless
    number = driver.next_trial()
    driver.finish(number, "failed")
    assert driver.hopeless and not start(folder, driver.settings).hopeless, "a new driver tries again"


def test_values_that_are_refused_stand_in_the_folder_with_the_reason(folder, settings, monkeypatch):
    driver = start(folder, settings)
    monkeypatch.setattr("datg.search.study.driver.with_params", refuse)
    assert driver.next_trial() is None and set(driver.progress.outcomes) == {"error"}
    for trial, record in zip(stored_trials(driver), RecordReader(folder, settings).records(), strict=True):
        assert record.searched == trial.params and record.error == "no"


def refuse(config, setting):
    raise ConfigError("no")


def test_a_trial_that_runs_again_has_not_ended(folder, settings):
    driver = start(folder, settings)
    number, reader = driver.next_trial(), RecordReader(folder, settings)
    driver.flush()
    write_outcome(
        folder.trial(number), TrialOutcome("pruned")
    )  # the study was restored from a copy older than the folders
    assert reader.records()[0].outcome == "pruned"
    again = start(folder, settings)
    assert again.next_trial() == number and reader.records()[0].outcome == ""
    run_one(again, number)
    assert reader.records()[0].outcome == "finished"


def test_a_change_ends_what_was_pruned_already_as_pruned(folder, glyphs, data_root):
    settings = settings_for(glyphs, data_root, search__pruner="median", search__trials=10)
    driver = start(folder, settings)
    for _ in range(5):
        run_one(driver, driver.next_trial())
    pruned, running = driver.next_trial(), driver.next_trial()
    assert report(driver, pruned, progress_of(10, 0.0), progress_of(20, 0.0))
    stored = open_study(sqlite_url(folder.study), folder.name)
    assert stored.fail_running_trials("changed") == [pruned, running]
    found = {trial.number: (trial.state.name, trial.user_attrs["error"]) for trial in stored.trials()}
    assert (found[pruned], found[running]) == (("PRUNED", ""), ("FAIL", "changed"))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sampler": "cmaes"}, "must be one of tpe"), ({"budget": 3}, "`budget` is not a known key")],
)
def test_a_search_of_another_version_is_refused_with_a_sentence(change, message, folder, settings):
    remembered = settings.model_dump(mode="json") | change
    write_yaml(folder.settings, remembered)
    open_study(sqlite_url(folder.study), folder.name, create=True).remember(remembered)
    with pytest.raises(StateError, match=f"begun by another version of this package .*{message}"):
        SearchSettings.load(folder)


def test_what_runs_is_told_between_its_validations(folder, settings):
    driver = start(folder, settings)
    first, second = driver.next_trial(), driver.next_trial()
    tell_now(folder.trial(first), Now(6))
    tell_now(folder.trial(second), Now(20, validated=100))
    driver.look_at_running()
    assert f"running 2 ({first}: 15%, {second}: 50% validating)" in status_line(driver.progress)
    settings.save(folder)
    status = {trial["trial"]: trial for trial in read_status(folder).running}
    assert status[first]["done"] == 0.15 and status[second]["validating"] and not status[first]["validating"]
    (folder.trial(first) / NOW).write_text("{")  # as it is while it is written
    tell_now(folder.trial(second), Now(21))
    driver.look_at_running()
    assert f"({first}: 15%, {second}: 52%)" in status_line(driver.progress)


def test_a_validation_that_was_reported_is_under_way_no_more(folder, settings):
    driver = start(folder, settings)
    settings.save(folder)
    number = driver.next_trial()
    tell_now(
        folder.trial(number), Now(20, validated=100)
    )  # told every few seconds only: it trains again, and nothing says so
    report(driver, number, progress_of(20, 0.3))
    driver.look_at_running()
    assert status_line(driver.progress).count("validating") == 0
    assert not read_status(folder).running[0]["validating"]


def test_the_time_left_is_known_once_a_whole_interval_with_its_validation_was_timed(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("datg.search.study.progress.time.monotonic", lambda: clock[0])
    progress = SearchProgress(asked=4, interval=0.05)
    progress.start(0, 0.5)
    progress.start(1, 0.0)
    clock[0] += 600
    progress.running.update({0: 0.55, 1: 0.05})
    assert progress.seconds_left() is None, "both are only at their validations"
    progress.running[1] = 0.06
    assert progress.seconds_left() == pytest.approx(600 / 0.11 * (4 - 0.61))


def test_the_time_left_follows_from_what_was_done_since_the_first_trial_began(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("datg.search.study.progress.time.monotonic", lambda: clock[0])
    progress = SearchProgress(asked=10, references=1)
    clock[0] += 60  # until Ray is there
    assert progress.seconds_left() is None
    progress.outcomes["finished"] += 2  # by an earlier driver
    progress.start(2, 0.5)
    progress.start(3, 0.0)
    clock[0] += 5
    progress.running[2] = 0.9
    assert progress.seconds_left() is None, "too short"
    clock[0] += 15
    progress.running.update({2: 1.0, 3: 0.5})
    # One trial's work in 20 s: half of each of two. Missing: 10 - 2 - 1.5 trials and a reference.
    assert progress.seconds_left() == pytest.approx(20 * 7.5)
    progress.running.pop(2)
    progress.ended_here.append("pruned")
    progress.outcomes["pruned"] += 1
    assert progress.seconds_left() == pytest.approx(20 / 1.5 * 7.5), "it counts as a whole: others will be pruned, too"
    for _ in range(3):  # an outage says nothing of how long others take
        progress.ended_here.append("failed")
        progress.outcomes["failed"] += 1
    assert progress.seconds_left() == pytest.approx(20 / 1.5 * 4.5)
