import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from datg.search.sole_writer import SoleWriterStorage
from datg.search.study import _forget, open_study, sqlite_url

UNIFORM = FloatDistribution(0, 1)


@pytest.fixture
def url(tmp_path):
    return sqlite_url(tmp_path / "study.db")


def in_database(url):
    return optuna.load_study(study_name="s", storage=optuna.storages.RDBStorage(url)).get_trials()


def writes(study):
    """Every way of writing to a trial, one after the other."""
    first, second = study.ask(), study.ask()
    storage = study._storage
    yield storage.set_trial_param(first._trial_id, "x", 0.5, UNIFORM)
    yield storage.set_trial_user_attr(second._trial_id, "a", 1)
    yield storage.set_trial_system_attr(first._trial_id, "completed_rung_0", 0.2)
    yield first.report(0.2, 1)
    yield _forget(study, study.get_trials()[0], lambda key: key.startswith("completed_rung"))
    yield second.suggest_float("x", 0, 1)
    yield study.tell(second, 0.7)
    yield study.enqueue_trial({"x": 0.25})
    yield study.ask().suggest_float("x", 0, 1)
    yield study.tell(first, state=TrialState.PRUNED)


def test_it_shows_what_is_in_the_database_whatever_was_written(url):
    study = open_study(url, "s", create=True)
    assert isinstance(study._storage, SoleWriterStorage)
    for number, _ in enumerate(writes(study)):
        assert study.get_trials() == in_database(url), f"write {number}"
    assert [trial.state.name for trial in open_study(url, "s").get_trials()] == ["PRUNED", "COMPLETE", "RUNNING"]


def test_a_trial_is_read_again_after_a_write_that_failed_and_no_other_is(url, monkeypatch):
    study = open_study(url, "s", create=True)
    trials = [study.ask() for _ in range(3)]
    study.get_trials()
    backend, asked = study._storage._backend, []
    read, write = backend._get_trials, backend.set_trial_user_attr

    def reading(study_id, states, included, beyond):
        asked.append(set(included))
        return read(study_id, states, included, beyond)

    def failing(trial_id, key, value):
        write(trial_id, key, value)
        raise OSError("no answer")

    monkeypatch.setattr(backend, "_get_trials", reading)
    monkeypatch.setattr(backend, "set_trial_user_attr", failing)
    with pytest.raises(OSError, match="no answer"):
        study._storage.set_trial_user_attr(trials[1]._trial_id, "a", 1)
    assert study.get_trials()[1].user_attrs == {"a": 1}
    study.get_trials()
    assert asked == [{trials[1]._trial_id}]
