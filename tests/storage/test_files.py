import os
import stat
from pathlib import Path

import pytest
import torch

from datg.errors import ConfigError
from datg.storage.checkpoint import save_checkpoint
from datg.storage.files import read_yaml, replacing, write_text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2: key `a` stands twice"),
        ("a:\n  b: 1\n  b: 2", "line 3: key `b` stands twice"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: [1", "expected ',' or"),
        ("- 1", "must hold a mapping of keys to values, got list"),
        ("", "got NoneType"),
    ],
)
def test_yaml_that_is_not_plain_is_refused_with_file_and_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="x.yaml") as caught:
        read_yaml(path)
    assert message in str(caught.value)


def test_a_missing_or_binary_yaml_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        read_yaml(tmp_path / "x.yaml")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_weights_have_the_rights_of_every_other_file(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "text", "")
        save_checkpoint(tmp_path / "weights", {"a": torch.zeros(2)}, {})
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~umask}
