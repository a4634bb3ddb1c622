import json

import pytest

from datg.errors import ConfigError
from datg.search.disk_space import bytes_needed, check_room
from datg.storage.disk_size import format_size
from datg.storage.files import write_json
from datg.trial.folder import BEST, LAST
from tests.faults.scripted import drive
from tests.search.conftest import settings_for


@pytest.mark.parametrize(("size", "text"), [(5e8, "500 MB"), (1.5e9, "1.5 GB"), (2e13, "20 TB"), (700, "0.7 KB")])
def test_sizes_are_shown(size, text):
    assert format_size(size) == text


def test_room_is_asked_for_before_anything_is_written(glyphs, data_root, tmp_path):
    settings = settings_for(glyphs, data_root, search__trials=50)
    most = bytes_needed(settings, glyphs.part("base"), 2)
    more = bytes_needed(settings.model_copy(update={"trials": 100}), glyphs.part("base"), 2)
    assert most < more < 2 * most
    check_room(tmp_path / "not yet", most)
    with pytest.raises(ConfigError, match="free and this search needs up to 1e"):
        check_room(tmp_path, 10**21)


def test_what_a_pruned_trial_no_longer_needs_is_removed(glyphs, data_root, folder):
    driver = drive(folder, settings_for(glyphs, data_root))
    number = driver.next_trial()
    for name in (BEST, LAST):
        write_json(folder.trial(number) / name, {})
    driver.finish(number, "diverged", "nan")
    assert (folder.trial(number) / BEST).exists() and not (folder.trial(number) / LAST).exists()
    assert json.loads((folder.trial(number) / "outcome.json").read_text())["error"] == "nan"
