"""Names of searches: the rule, and what may stand where one is to be."""

import pytest

from datg.errors import ConfigError
from datg.search.state.folder import SEARCH_YAML, is_begun, named_folder


@pytest.mark.parametrize("name", ["nightly", "a", "2026-11-26_run.3", "x" * 100])
def test_a_name_is_that_of_the_folder(name, tmp_path):
    assert not is_begun(tmp_path, name)
    folder = named_folder(tmp_path / "runs", name)
    assert folder.path == tmp_path / "runs" / name and folder.name == name
    assert named_folder(tmp_path / "runs", name) == folder, "a start that died before it wrote anything is no hindrance"
    for left in ("driver.lock", "driver.json", f".{SEARCH_YAML}.0123abcd"):
        (folder.path / left).touch()
    assert named_folder(tmp_path / "runs", name) == folder, "nor is one that died before its settings were written"
    (folder.path / SEARCH_YAML).touch()
    assert is_begun(tmp_path / "runs", name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/tmp/x", "-x", "a b", "a--b", "ä", "x" * 101, "a\nb"])
def test_what_cannot_be_a_folder_is_refused_with_the_rule(name, tmp_path):
    for refusing in (is_begun, named_folder):
        with pytest.raises(ConfigError, match="`--name` must be 1 to 100 letters"):
            refusing(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_what_is_no_search_is_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ConfigError, match="holds something else; choose another name"):
        named_folder(tmp_path, "thesis")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds something else; choose another name"):
        named_folder(tmp_path, "repository")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="holds something else; choose another name"):
        named_folder(tmp_path, "file")
