"""What commands are called in what is printed: as the user called this one."""

import pytest

from datg.runtime.called import command, this_command


@pytest.mark.parametrize(
    ("program", "called"),
    [
        ("launchers/search.py", "python launchers/export.py first --top 3"),
        ("/home/anna/DATG/launchers/search.py", "python launchers/export.py first --top 3"),
        ("/home/anna/.venv/bin/datg", "datg export first --top 3"),
        ("/home/anna/my_search.py", "datg export first --top 3"),
        ("", "datg export first --top 3"),
    ],
)
def test_a_command_is_called_as_this_one_was(monkeypatch, program, called):
    monkeypatch.setattr("sys.argv", [program, "--dataset", "glyphs"])
    assert command("export", "first", "--top 3") == called


@pytest.mark.parametrize(
    ("argv", "called"),
    [
        (
            ["/home/anna/DATG/launchers/search.py", "--name", "two words"],
            "python launchers/search.py --name 'two words'",
        ),
        (["/home/anna/.venv/bin/datg", "search", "--dataset", "glyphs"], "datg search --dataset glyphs"),
        (["/home/anna/my_search.py", "8"], "my_search.py 8"),
    ],
)
def test_the_command_that_runs_is_told_as_it_was_called(monkeypatch, argv, called):
    monkeypatch.setattr("sys.argv", argv)
    assert this_command() == called
