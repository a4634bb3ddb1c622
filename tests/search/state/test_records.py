import numpy as np

from datg.search.state.records import RecordReader
from datg.trial.accuracies import Evaluation
from datg.trial.folder import BEST, EVALUATION
from datg.trial.records import TrialOutcome, read_score, read_trial, write_outcome
from tests.faults.scripted import drive, run, validate
from tests.search.conftest import settings_for


def test_of_each_trial_only_what_has_changed_is_read_again(glyphs, data_root, folder, monkeypatch):
    settings = settings_for(glyphs, data_root, search__pruner="none")
    driver = drive(folder, settings)
    run(driver, events=9)
    reader, read = RecordReader(folder, settings), []
    monkeypatch.setattr(
        "datg.search.state.records.read_trial", lambda *a, **o: read.append(a[0].name) or read_trial(*a, **o)
    )
    first = reader.records()
    assert [record.number for record in first] == sorted(int(name) for name in read) == [0, 1, 2, 3]
    assert first[0].searched == driver._setting(0) and {record.state for record in first} == {"running"}
    read.clear()
    assert reader.records() == first and read == []
    validate(folder, 1, 10, 40)
    assert len(reader.records()[1].reports) == len(first[1].reports) + 1 and read == ["1"]


def test_a_trial_is_read_again_until_it_is_evaluated_and_then_never(glyphs, data_root, folder):
    settings = settings_for(glyphs, data_root)
    driver = drive(folder, settings)
    place = folder.trial(driver.next_trial())
    (place / BEST).write_bytes(b"weights")
    write_outcome(place, TrialOutcome("finished"))
    reader = RecordReader(folder, settings)
    (record,) = reader.records()
    assert not record.complete and record.test is None
    Evaluation(np.array([0.25, 0.75], dtype=np.float32)).save(place / EVALUATION, {})
    (record,) = reader.records()
    assert record.complete and record.test == read_score(place / EVALUATION) and record.test.accuracy == 0.5


def test_a_folder_without_a_configuration_is_no_trial_yet(glyphs, data_root, folder):
    settings = settings_for(glyphs, data_root)
    folder.trial(0).mkdir(parents=True)
    assert RecordReader(folder, settings).records() == []
