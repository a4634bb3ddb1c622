"""The driver with a scripted trial in place of a real one: what it asks, what it tells, what a resume finds."""

import json
from collections import Counter
from dataclasses import asdict

import pytest
from optuna.trial import TrialState

from datg.errors import ConfigError, StateError
from datg.files import read_yaml
from datg.records import OUTCOME
from datg.search.driver import FAILURES, SearchDriver
from datg.search.folder import DriverLock, find_folder, new_folder
from datg.search.results import read_records
from datg.search.settings import SearchSettings
from datg.search.study import open_study, sqlite_url
from datg.trial import PROGRESS, Progress, progress_lines
from datg.trial_config import TrialConfig
from tests.search.conftest import settings_for


def start(folder, settings):
    url = sqlite_url(folder.study)
    create = not folder.study.exists()
    study = open_study(url, folder.name, create=create, pruner=settings.pruner, steps=settings.steps)
    return SearchDriver(folder, settings, study)


def progress_of(iteration, accuracy):
    return Progress(iteration, 1.0, 1.0, {"loss": 1.0, "ce": 1.0}, accuracy, 0.01, accuracy, 0.01, iteration)


def score(config):
    """A scripted objective: best at alpha = 1."""
    return 1 / (1 + abs(config["strategy"]["alpha"] - 1))


def run_one(driver, number):
    config = read_yaml(driver.folder.trial(number) / "config.yaml")
    for iteration in (10, 20, 30, 40):
        if driver.report(number, progress_of(iteration, score(config) * iteration / 40)):
            break
    driver.finish(number, "finished")


@pytest.fixture
def settings(glyphs, data_root):
    return settings_for(glyphs, data_root)


def test_a_search_has_exactly_the_asked_number_of_trials_and_the_paper_is_its_first(folder, settings):
    driver = start(folder, settings)
    while (number := driver.next_trial()) is not None:
        run_one(driver, number)
    trials = driver.study.trials
    assert len(trials) == settings.trials and all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials)
    assert trials[0].params["strategy.alpha"] == 2.0 and trials[0].params["strategy.mix_high"] == 4
    assert driver.situation.outcomes.total() == settings.trials
    best = max(t.user_attrs["heard"]["objective"] for t in trials)
    assert driver.situation.best[1] == best


def test_a_killed_driver_loses_nothing_and_doubles_nothing(folder, settings):
    driver = start(folder, settings)
    run_one(driver, driver.next_trial())
    second, third = driver.next_trial(), driver.next_trial()
    driver.report(second, progress_of(10, 0.3))
    configs = {n: read_yaml(folder.trial(n) / "config.yaml") for n in (second, third)}
    del driver  # killed: nothing was told

    driver = start(folder, settings)
    assert driver.situation.outcomes == Counter({"finished": 1})
    assert [driver.next_trial(), driver.next_trial()] == [second, third], "what was running comes first"
    assert {n: read_yaml(folder.trial(n) / "config.yaml") for n in (second, third)} == configs
    driver.report(second, progress_of(10, 0.3))  # the last validation, once more
    values = driver.study.trials[second].intermediate_values
    assert values == {1: 0.3}
    run_one(driver, second)
    run_one(driver, third)
    while (number := driver.next_trial()) is not None:
        run_one(driver, number)
    states = Counter(trial.state for trial in driver.study.trials)
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


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("finished", TrialState.COMPLETE),
        ("collapsed", TrialState.COMPLETE),
        ("diverged", TrialState.PRUNED),
        ("error", TrialState.PRUNED),
        ("failed", TrialState.FAIL),
    ],
)
@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random", "qmc"])
def test_every_outcome_has_its_state(folder, glyphs, data_root, outcome, state, sampler):
    settings = settings_for(glyphs, data_root, search__sampler=sampler)
    driver = start(folder, settings)
    for _ in range(3):
        number = driver.next_trial()
        driver.report(number, progress_of(10, 0.3))
        driver.finish(number, outcome, "a reason" if outcome in FAILURES else "")
    trial = driver.study.trials[0]
    assert trial.state == state and trial.user_attrs["outcome"] == outcome
    record = read_records(folder, settings, driver.study)[0]
    assert record.state == ("failed" if outcome in FAILURES else "done")
    assert record.error == ("a reason" if outcome in FAILURES else "")
    assert trial.constraints == ({} if outcome == "failed" else {"broken": float(outcome in ("diverged", "error"))})
    noted = json.loads((folder.trial(0) / OUTCOME).read_text())
    assert (noted["outcome"], noted["error"]) == (outcome, record.error)


def test_a_trial_that_diverged_before_its_first_validation_is_told_too(folder, settings):
    driver = start(folder, settings)
    number = driver.next_trial()
    driver.finish(number, "diverged", "nan")
    assert driver.study.trials[0].state == TrialState.PRUNED
    assert driver.next_trial() == 1


def test_an_unpromising_trial_is_pruned_and_stays_so(folder, glyphs, data_root):
    settings = settings_for(glyphs, data_root, search__pruner="median", search__trials=10)
    driver = start(folder, settings)
    for _ in range(5):
        run_one(driver, driver.next_trial())
    number = driver.next_trial()
    assert [driver.report(number, progress_of(i, 0.0)) for i in (10, 20)][-1]
    driver.finish(number, "failed", "Tune has no outcome for a trial that it stopped")
    assert driver.study.trials[number].state == TrialState.PRUNED
    assert "error" not in driver.study.trials[number].user_attrs
    assert driver.situation.outcomes["pruned"] >= 1


def test_settings_survive_their_file(folder, settings):
    settings.save(folder)
    assert SearchSettings.load(folder) == settings
    assert TrialConfig.of(settings.config) == settings.trial_config
    for damage in (lambda: folder.settings.write_text("config: {}"), folder.settings.unlink):
        damage()
        with pytest.raises(StateError, match="damaged or missing, and there is no study beside it"):
            SearchSettings.load(folder)
    settings.remember(start(folder, settings).study)
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


def write_progress(driver, number, entries):
    lines = progress_lines([asdict(entry) for entry in entries])
    (driver.folder.trial(number) / PROGRESS).write_text(lines)


def test_what_was_not_heard_is_heard_before_an_end_is_told(folder, glyphs, data_root):
    settings = settings_for(glyphs, data_root, search__pruner="none")
    driver = start(folder, settings)
    number = driver.next_trial()
    history = [progress_of(iteration, iteration / 100) for iteration in (10, 20, 30, 40)]
    driver.report(number, history[0])
    write_progress(driver, number, history)
    driver.finish(number, "finished")
    trial = driver.study.trials[number]
    assert trial.value == 0.4 and trial.intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}


def test_reports_that_a_dead_driver_missed_are_made_up_for(folder, settings):
    driver = start(folder, settings)
    number = driver.next_trial()
    driver.report(number, progress_of(10, 0.1))
    write_progress(driver, number, [progress_of(iteration, iteration / 100) for iteration in (10, 20, 30)])
    again = start(folder, settings)
    assert again.next_trial() == number
    again.report(number, progress_of(30, 0.3))
    assert again.study.trials[number].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3}


def test_a_trial_that_was_let_go_is_handed_out_again(folder, settings):
    driver = start(folder, settings)
    first, second = driver.next_trial(), driver.next_trial()
    driver.release(first, again=True)
    driver.release(second)
    assert driver.next_trial() == first
    assert driver.next_trial() == second + 1, "the other one is left to the next driver"
    assert [start(folder, settings).next_trial() for _ in range(1)] == [first]


def test_ten_failures_in_a_row_are_hopeless(folder, glyphs, data_root):
    driver = start(folder, settings_for(glyphs, data_root, search__trials=30))
    for outcome in ["finished", *["failed", "error", "diverged"] * 3]:
        number = driver.next_trial()
        driver.report(number, progress_of(10, 0.3))
        driver.finish(number, outcome)
        assert not driver.hopeless
    number = driver.next_trial()
    driver.finish(number, "failed")
    assert driver.hopeless and not start(folder, driver.settings).hopeless, "a new driver tries again"
