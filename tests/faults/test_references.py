"""A reference whose search is killed or stopped while it trains goes on where it was, and no trial notices."""

import signal

import optuna
import pytest

from datg.search.settings import SearchSettings
from datg.search.study.stored import sqlite_url
from datg.trial.folder import read_reports
from tests.faults.searches import SMALL, check_whole, kill, steps, until

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ITERATIONS, EVERY = 240, 20


def test_a_reference_goes_on_from_its_checkpoint(place):
    options = [*SMALL, *steps(ITERATIONS, EVERY), "--trials", 1, "--max-concurrent", 1, "--references"]
    process = place.start("search", *options)
    reference = until(lambda: next(place.path.glob("runs/*/references/vanilla"), None))
    before: list = []
    for number in (signal.SIGTERM, signal.SIGKILL):
        seen = len(before)
        until(lambda seen=seen: len(read_reports(reference)) > seen)
        kill(process, number)
        place.wait(process, 75 if number == signal.SIGTERM else -9)
        again = read_reports(reference)
        assert again[: len(before)] == before and len(again) < ITERATIONS // EVERY, "it was still on its way"
        before, process = again, place.start("search", "--resume", place.folder.name)
    place.wait(process, 0)
    assert "best minus reference vanilla, paired by task: validation" in place.said(process)
    after = read_reports(reference)
    assert after[: len(before)] == before
    assert [entry.iteration for entry in after] == list(range(EVERY, ITERATIONS + 1, EVERY))
    check_whole(place.folder, 1)
    name = f"{SearchSettings.load(place.folder).study}-references"
    (kept,) = optuna.load_study(storage=sqlite_url(place.folder.study), study_name=name).trials
    assert kept.value == max(entry.accuracy for entry in after)
