"""What a search is measured against, beside its trials: which it is, where it is kept, what never sees it."""

import shutil

import numpy as np
import optuna
import pytest

from datg.cli.messages import status_line
from datg.cli.status import format_status
from datg.report.status import read_status
from datg.search.references import references_of
from datg.search.settings import SearchSettings
from datg.search.state.repair import repair
from datg.search.study.driver import SearchDriver
from datg.search.study.stored import open_study, sqlite_url
from datg.storage.files import read_yaml, write_text
from datg.trial.accuracies import Evaluation
from datg.trial.data import TrialData
from datg.trial.final_evaluation import evaluate_best
from datg.trial.folder import BEST, BEST_VALIDATION, CONFIG, EVALUATION, LAST, PROGRESS, report_lines
from datg.trial.records import OUTCOME, TrialOutcome, read_outcome, write_outcome
from datg.trial.run import run_trial
from tests.search.conftest import settings_for
from tests.search.study.test_driver import progress_of, run_one
from tests.trial.test_run import config_of, dataset_of


def settings_with(glyphs, data_root, **flags):
    settings = settings_for(glyphs, data_root, **flags)
    return settings.model_copy(update={"references": references_of(settings)})


def drive(folder, settings):
    create = not folder.study.exists()
    return SearchDriver(folder, settings, open_study(sqlite_url(folder.study), "a study", create=create))


def kept(folder):
    return optuna.load_study(storage=sqlite_url(folder.study), study_name="a study-references").trials


def train(folder, name):
    """What a worker does."""
    place = folder.reference(name)
    entries = [vars(progress_of(iteration, 0.3)) for iteration in (10, 20, 30, 40)]
    write_text(place / PROGRESS, report_lines(entries))
    for name in (BEST_VALIDATION, EVALUATION):
        Evaluation(np.full(5, 0.3, np.float32)).save(place / name, {})


def test_vanilla_is_one_and_the_own_setting_where_no_trial_has_it(glyphs, data_root):
    inside = settings_for(glyphs, data_root)
    assert references_of(inside) == {"vanilla": {"strategy": {"name": "vanilla"}}}
    space = {"strategy.alpha": {"float": [0.1, 1.0]}}
    outside = inside.model_copy(update={"space": space})
    assert outside.own_setting is None and list(references_of(outside)) == ["own", "vanilla"]
    vanilla = settings_for(glyphs, data_root, strategy__name="vanilla")
    assert references_of(vanilla) == {}, "what is searched begins from the same configuration"
    narrow = vanilla.model_copy(update={"space": {"training.lr": {"log": [0.1, 1.0]}}})
    assert references_of(narrow) == {"own": {}}, "one configuration runs once"


def test_a_reference_is_kept_beside_the_study_that_samplers_see(glyphs, data_root, folder):
    settings = settings_with(glyphs, data_root, search__trials=2)
    settings.save(folder)
    driver = drive(folder, settings)
    assert driver.progress.references == 1 and "0 of 1 references done" in status_line(driver.progress)
    config = driver.references.start("vanilla")
    assert config.strategy_name == "vanilla" and config.to_dict() == read_yaml(folder.reference("vanilla") / CONFIG)
    own = settings.config.to_dict()
    assert {key: value for key, value in config.to_dict().items() if key != "strategy"} == {
        key: value for key, value in own.items() if key != "strategy"
    }
    while (number := driver.next_trial()) is not None:
        run_one(driver, number)
    assert not driver.all_done, "a reference is missing"
    assert read_status(folder).resume and "reference vanilla: not done" in "\n".join(format_status(read_status(folder)))
    train(folder, "vanilla")
    driver.references.finish("vanilla", "finished")
    assert driver.all_done
    (trial,) = kept(folder)
    assert (trial.state.name, trial.value, trial.user_attrs["reference"]) == ("COMPLETE", 0.3, "vanilla")
    assert trial.intermediate_values == {1: 0.3, 2: 0.3, 3: 0.3, 4: 0.3}
    assert len(open_study(sqlite_url(folder.study), "a study").trials()) == 2
    assert "reference vanilla: finished, validation 0.3000, novel classes 0.3000" in "\n".join(
        format_status(read_status(folder))
    )


def test_what_a_driver_that_died_did_not_write_the_next_one_writes_once(glyphs, data_root, folder):
    settings = settings_with(glyphs, data_root)
    driver = drive(folder, settings)
    driver.references.start("vanilla")
    train(folder, "vanilla")
    driver.references._stored.add_reference = lambda trial: None
    driver.references.finish("vanilla", "finished")
    for _ in range(2):
        drive(folder, settings).close()
        assert [trial.user_attrs["reference"] for trial in kept(folder)] == ["vanilla"]


def test_a_reference_that_failed_for_good_is_kept_as_failed_and_is_not_missing(glyphs, data_root, folder):
    driver = drive(folder, settings_with(glyphs, data_root))
    driver.references.start("vanilla")
    driver.references.finish("vanilla", "diverged", "loss was nan")
    assert driver.references.all_done and [trial.state.name for trial in kept(folder)] == ["FAIL"]


def test_settings_are_recovered_from_a_database_that_holds_both_studies(glyphs, data_root, folder):
    settings = settings_with(glyphs, data_root)
    driver = drive(folder, settings)
    settings.remember(driver._stored)
    driver.references.start("vanilla")
    train(folder, "vanilla")
    driver.references.finish("vanilla", "finished")
    assert SearchSettings.load(folder) == settings, "search.yaml was never written"


@pytest.mark.parametrize("lost", [BEST, BEST_VALIDATION, LAST])
def test_a_reference_that_has_lost_a_part_begins_anew(lost, folder, trained_folder):
    place = folder.reference("vanilla")
    place.parent.mkdir()
    trained_folder.rename(place)
    (place / lost).write_bytes(b"no more")
    (line,) = repair(folder, [], ["vanilla"])
    assert "reference vanilla begins anew" in line and read_outcome(place) is None
    assert not any((place / name).exists() for name in (BEST, LAST, EVALUATION))


def test_validations_of_a_reference_are_written_again(folder, trained_folder):
    place = folder.reference("vanilla")
    place.parent.mkdir()
    trained_folder.rename(place)
    written = (place / PROGRESS).read_text()
    (place / PROGRESS).write_text(written[: len(written) // 2])
    (line,) = repair(folder, [], ["vanilla"])
    assert "was made again from last.safetensors" in line and (place / PROGRESS).read_text() == written


def test_a_whole_reference_is_left_alone_and_its_evaluation_made_again(folder, trained_folder):
    place = folder.reference("vanilla")
    place.parent.mkdir()
    trained_folder.rename(place)
    assert repair(folder, [], ["vanilla"]) == []
    (place / EVALUATION).write_bytes(b"no more")
    (line,) = repair(folder, [], ["vanilla"])
    assert "is damaged; it is made again" in line and (place / OUTCOME).exists() and not (place / EVALUATION).exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small training that has ended and is evaluated."""
    place = tmp_path_factory.mktemp("trained") / "vanilla"
    run_trial(config_of(), TrialData.from_dataset(dataset_of()), report=lambda progress: None, folder=place)
    evaluate_best(place / BEST, dataset_of().part("novel"), save_to=place / EVALUATION)
    write_outcome(place, TrialOutcome("finished"))
    return place


@pytest.fixture
def trained_folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "vanilla")


def test_a_reference_of_which_nothing_is_left_but_its_end_begins_anew(folder, trained_folder):
    place = folder.reference("vanilla")
    place.parent.mkdir()
    trained_folder.rename(place)
    for name in (BEST, LAST, PROGRESS):  # killed while it was being repaired
        (place / name).unlink()
    repair(folder, [], ["vanilla"])
    assert read_outcome(place) is None
