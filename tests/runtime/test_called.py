"""What commands are called in what is printed: as the user called this one."""

from pathlib import Path

import pytest

from datg.runtime.called import called, command, this_command


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("launchers/search.py", "python launchers/export.py first --top 3"),
        ("/home/anna/DATG/launchers/search.py", "python launchers/export.py first --top 3"),
        ("/home/anna/.venv/bin/datg", "datg export first --top 3"),
        ("/home/anna/my_search.py", "datg export first --top 3"),
        ("", "datg export first --top 3"),
    ],
)
def test_a_command_is_called_as_this_one_was(monkeypatch, program, told):
    monkeypatch.setattr("sys.argv", [program, "--dataset", "glyphs"])
    assert command("export", "first", "--top 3") == told


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (
            ["/home/anna/DATG/launchers/search.py", "--name", "two words"],
            "python launchers/search.py --name 'two words'",
        ),
        (["/home/anna/.venv/bin/datg", "search", "--dataset", "glyphs"], "datg search --dataset glyphs"),
        (["/home/anna/my_search.py", "8"], "my_search.py 8"),
    ],
)
def test_the_command_that_runs_is_told_as_it_was_called(monkeypatch, argv, told):
    monkeypatch.setattr("sys.argv", argv)
    assert this_command() == told


def test_a_search_that_commands_find_by_its_name_is_called_by_it_and_others_by_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert called(tmp_path / "runs" / "first") == "first"
    assert called(Path("/shared/runs/first")) == "/shared/runs/first"
    assert called(Path("/shared/my runs/first")) == "'/shared/my runs/first'"


def test_a_path_in_a_command_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.setattr("sys.argv", ["datg"])
    assert command("train", Path("my runs/best.yaml"), "--seeds 3") == "datg train 'my runs/best.yaml' --seeds 3"
