"""The stored study: what others read there, and what becomes of it when writes fail."""

import time

import optuna
import pytest

from datg.errors import ConfigError
from datg.search.study import PRUNERS
from datg.search.study.memory import MemoryStudy
from datg.search.study.samplers import sampler_for
from datg.search.study.stored import METRIC, PruningState, open_study, sqlite_url
from datg.search.study.writer import OrderedWriter


@pytest.fixture
def stored(tmp_path):
    return open_study(sqlite_url(tmp_path / "s.db"), "s", create=True)


def add_one(stored, memory):
    trial = memory.suggest(sampler_for("random", seed=0, number=0, trials=9), lambda t: t.suggest_float("x", 0, 1))
    stored.add(trial)
    return trial


def test_optuna_reads_it_while_the_search_runs(stored, tmp_path):
    memory = MemoryStudy("s", PRUNERS["none"](3), [])
    for number, outcome in enumerate(("finished", "diverged", "failed")):
        trial = add_one(stored, memory)
        stored.record_report(number, PruningState(1, 0.6), 0.5)
        (seen,) = optuna.load_study(study_name="s", storage=sqlite_url(tmp_path / "s.db")).trials[number:]
        assert seen.state.name == "RUNNING" and seen.params == trial.params and seen.intermediate_values == {1: 0.5}
        stored.end(number, outcome, "" if outcome == "finished" else "a reason", 0.5)
    study = optuna.load_study(study_name="s", storage=sqlite_url(tmp_path / "s.db"))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.trials[1].constraints == {"broken": 1.0} and study.trials[1].user_attrs["error"] == "a reason"
    assert study.metric_names == [METRIC] and study.best_trial.number == 0


def test_a_trial_that_is_rebuilt_forgets_what_was_not_decided(stored):
    """A driver that dies between a value and its decision has the report come again."""
    add_one(stored, MemoryStudy("s", PRUNERS["none"](3), []))
    stored.record_report(0, PruningState(1, 0.6, notes={"completed_rung_0": 0.5}), 0.5)
    stored._storage.set_trial_intermediate_value(stored._trial_id(0), 2, 0.7)
    rebuilt = MemoryStudy("s", PRUNERS["none"](3), stored.trials())
    assert rebuilt.trial(0).intermediate_values == {1: 0.5}
    assert rebuilt.trial(0).system_attrs["completed_rung_0"] == 0.5
    assert rebuilt.report(0, 0.7, 2, ask_pruner=True) == (False, {"completed_rung_0": 0.5})
    stored.record_report(0, PruningState(2, 0.8), 0.7)
    assert stored.trials()[0].intermediate_values == {1: 0.5, 2: 0.7}, "a value may be written twice"


def test_an_optuna_whose_storage_has_moved_is_refused_with_a_sentence(monkeypatch, tmp_path):
    for kind in (optuna.storages.RDBStorage, optuna.storages.BaseStorage):
        monkeypatch.delattr(kind, "set_trial_intermediate_value")
    with pytest.raises(
        ConfigError, match=r"has no RDBStorage.set_trial_intermediate_value.*pip install 'optuna>=5,<6'"
    ):
        open_study(sqlite_url(tmp_path / "s.db"), "s", create=True)


def test_writes_are_made_in_order_behind_the_callers_back():
    writer, written = OrderedWriter(), []
    writer.write(lambda: time.sleep(0.2))
    began = time.monotonic()
    for number in range(5):
        writer.write(written.append, number)
    assert time.monotonic() - began < 0.1 and written == []
    writer.wait()
    assert written == list(range(5))
    writer.close()


def test_after_a_write_that_failed_none_is_made_and_the_failure_is_told_again_and_again():
    writer, written = OrderedWriter(), []

    def fail():
        raise OSError("no space left")

    writer.write(written.append, 1)
    writer.write(fail)
    with pytest.raises(OSError, match="no space left"):
        while True:
            writer.write(written.append, 2)
    for _ in range(2):
        with pytest.raises(OSError, match="no space left"):
            writer.wait()
    assert written == [1]
    writer.close()
