import json

import pytest

from datg.errors import ConfigError
from datg.files import write_json
from datg.final_evaluation import EVALUATION
from datg.search.disk import DiskWatch, bytes_needed, check_room, dispensable
from datg.sizes import bytes_in, parse_size, shown_size
from datg.stop import StopRequest
from datg.trial import BEST, LAST
from tests.faults.scripted import drive, run
from tests.search.conftest import settings_for


@pytest.mark.parametrize(("text", "size"), [("500MB", 5e8), ("1.5 gb", 1.5e9), ("20TB", 2e13), ("7kb", 7000)])
def test_sizes_are_read_and_shown(text, size):
    assert parse_size(text) == size and parse_size(None) is None
    assert parse_size(shown_size(size)) == size


@pytest.mark.parametrize("text", ["20", "GB", "-1GB", "0MB", "1e3MB", "5 gigabytes"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="must be a size such as 500MB"):
        parse_size(text)


def test_room_is_asked_for_before_anything_is_written(glyphs, data_root, tmp_path):
    settings = settings_for(glyphs, data_root, search__trials=50)
    most, least = (bytes_needed(settings, glyphs.part("base"), 2, least=least) for least in (False, True))
    more = bytes_needed(settings.model_copy(update={"trials": 100}), glyphs.part("base"), 2)
    assert least < most < more < 2 * most
    check_room(tmp_path / "not yet", most, None)
    with pytest.raises(ConfigError, match="free and this search needs up to 1e"):
        check_room(tmp_path, 10**21, None)
    with pytest.raises(ConfigError, match="`--disk-budget` is 1 MB"):
        check_room(tmp_path, least, 10**6)


def test_a_budget_drops_what_can_be_done_without_and_then_stops(glyphs, data_root, folder, monkeypatch):
    monkeypatch.setattr("datg.search.disk.SECONDS_BETWEEN_LOOKS", 0.0)
    driver = drive(folder, settings_for(glyphs, data_root, search__pruner="none"))
    run(driver)
    for number in driver.ended:
        for name in (BEST, LAST, EVALUATION):
            (folder.trial(number) / name).write_bytes(b"x" * 100_000)
    best, order = driver.situation.best[0], driver.ended_from_worst()
    assert order[-1] == best  # nothing was pruned
    (folder.trial(order[1]) / EVALUATION).unlink()  # is yet to come: its weights are needed
    files = dispensable(driver)
    assert [path.name for path in files] == [LAST] * 4 + [BEST] * 4 and folder.trial(order[1]) not in {
        p.parent for p in files
    }
    stop, whole = StopRequest(), bytes_in(folder.path)
    DiskWatch(whole + 1).look(driver, stop)
    DiskWatch(None).look(driver, stop)
    assert bytes_in(folder.path) == whole
    DiskWatch(whole - 450_000).look(driver, stop)
    assert not stop.requested and dispensable(driver) == files[5:], "the worst first, and no more than needed"
    DiskWatch(100).look(driver, stop)
    assert stop.requested and stop.exit_code == 75 and "the disk budget of 0.1 KB is used up" in stop.reason
    assert (folder.trial(best) / BEST).exists() and all((folder.trial(n) / "config.yaml").exists() for n in order)


def test_what_a_pruned_trial_no_longer_needs_is_removed(glyphs, data_root, folder):
    driver = drive(folder, settings_for(glyphs, data_root))
    number = driver.next_trial()
    for name in (BEST, LAST):
        write_json(folder.trial(number) / name, {})
    driver.finish(number, "diverged", "nan")
    assert (folder.trial(number) / BEST).exists() and not (folder.trial(number) / LAST).exists()
    assert json.loads((folder.trial(number) / "outcome.json").read_text())["error"] == "nan"
