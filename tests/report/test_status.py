"""What a search's folder tells, and how it is said."""

import json
import os
import socket
from dataclasses import replace

import pytest

from datg.cli import status as module
from datg.cli.status import format_status, summary_line
from datg.errors import ConfigError
from datg.report.status import causes, read_status
from datg.search.state.records import RecordReader
from datg.search.study.stored import pruning_state
from datg.storage.lease import TRIAL_LEASE, Lease
from datg.tracking.sent import Sent, Unsent, count_unsent, read_sent
from datg.trial.records import DONE, FAILED, TrialRecord
from tests.faults.scripted import drive, run, stored_trials
from tests.report.scripted import write_search
from tests.search.conftest import settings_for


def record(number, state, outcome, error="", folder=None):
    return TrialRecord(number, state, outcome, folder, searched={}, tags={}, error=error)


def test_failures_are_told_by_cause_the_most_frequent_first():
    found = causes(
        [record(n, FAILED, "error", "a wrong shape") for n in range(14)]
        + [record(14, FAILED, "diverged", "loss was nan"), record(15, DONE, "finished")]
    )
    assert found == [
        "14 x error: a wrong shape (trial 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...)",
        "1 x diverged: loss was nan (trial 14)",
    ]


def test_a_status_needs_the_folder_alone(glyphs, data_root, folder):
    settings = settings_for(glyphs, data_root, search__trials=6)
    settings.save(folder)
    driver = drive(folder, settings)
    run(driver, events=7)
    best = max(pruning_state(trial).objective or 0.0 for trial in stored_trials(driver))
    folder.study.unlink()
    running = sorted(driver.progress.running)
    Lease(folder.trial(running[0]) / TRIAL_LEASE, "cpu")
    status = read_status(folder)
    assert [trial["trial"] for trial in status.running] == running
    assert status.running[0]["where"] == f"process {os.getpid()} on {socket.gethostname()}"
    assert status.running[1]["where"] == "nowhere yet"
    assert status.best["validation"] == best and sum(status.outcomes.values()) == len(driver.ended)
    assert status.driver == "" and status.resume.endswith(f"--resume {folder.path}") and status.bytes > 1000
    assert status.unsent.points == status.unsent.total > 0
    assert json.loads(json.dumps(status.as_json()))["search"] == folder.name
    text = "\n".join(format_status(status))
    assert "interrupted" in summary_line(status) and "go on with: datg search" in text and "MLflow: lacks" in text


def test_what_did_not_finish_is_not_the_best(tmp_path, glyphs, data_root):
    settings = settings_for(glyphs, data_root)
    assert read_status(write_search(tmp_path / "one", settings, ["diverged", "pruned"])).best is None
    assert read_status(write_search(tmp_path / "two", settings, ["diverged", "finished"])).best["trial"] == 1


def test_a_driver_shows_as_long_as_it_lives(glyphs, data_root, folder):
    settings_for(glyphs, data_root).save(folder)
    host = socket.gethostname()
    for driver, expected in (
        ({"host": host, "pid": os.getpid()}, f"process {os.getpid()} on {host}"),
        ({"host": host, "pid": 2**22 + 1}, ""),
        ({"host": "elsewhere", "pid": 5}, "process 5 on elsewhere"),
    ):
        folder.driver.write_text(json.dumps(driver))
        assert read_status(folder).driver == expected
    os.utime(folder.driver, (1, 1))
    assert read_status(folder).driver == "", "no sign of life for too long"
    folder.driver.write_text("{")
    assert read_status(folder).driver == ""


def test_what_mlflow_lacks_is_counted_in_points(glyphs, data_root, folder):
    settings = settings_for(glyphs, data_root, search__trials=2, search__pruner="none")
    settings.save(folder)
    run(drive(folder, settings))
    records = RecordReader(folder, settings).records()
    assert count_unsent(records, Sent()) == Unsent(points=2 * 4 * 7, trials=2, total=56)
    assert count_unsent(records, Sent(points={"0": 4, "1": 3}, complete=["0"])) == Unsent(points=7, trials=1, total=56)
    assert count_unsent(records, Sent(complete=["0", "1"])) is None
    folder.mlflow.write_text("{")
    assert read_sent(folder.mlflow) == Sent()


def test_a_search_is_watched_until_nobody_drives_it(folder, monkeypatch, capsys, glyphs, data_root):
    settings_for(glyphs, data_root).save(folder)
    drivers = ["process 1 on here", "process 1 on here", ""]
    now = read_status(folder)
    monkeypatch.setattr(module, "read_status", lambda folder: replace(now, driver=drivers.pop(0)))
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.01)
    module._watch(folder)
    assert drivers == [] and "search-1: stopped; 0 of 6 trials ended" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [{"search": None}, {"search": "one", "as_json": True}])
def test_what_cannot_be_watched_is_refused(arguments, tmp_path):
    with pytest.raises(ConfigError, match="`--watch` shows one search on a terminal: name it, and leave --json out"):
        module.status(output=tmp_path, watch=True, **arguments)
