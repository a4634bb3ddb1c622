"""Commands that the documentation shows: the command line takes each of them, and what can be run here is run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from datg.cli.main import COMMANDS, application
from tests.docs.fences import PAGES, ROOT, RUN, commands, fences

# What makes a search of the documentation short; everything else is run as it stands.
SHORT = (
    "--trials 3 --set training.iterations=20 --set training.eval_every=10 --set backbone.filters=8 "
    "--set evaluation.validation_tasks=100 --final-episodes 200"
)
BY_CI = "make"  # commands that are CI's own


def shown(value):
    return " ".join(value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted({name for _, name, _ in commands() if not name.startswith("-")} - {"COMMAND"}))
def test_every_command_that_is_shown_is_there(name):
    assert name.replace("-", "_") in COMMANDS


WHOLE = [(page, name, words) for page, name, words in commands() if words and not {"...", "--help"} & set(words)]


@pytest.mark.parametrize(("page", "name", "arguments"), WHOLE, ids=shown)
def test_the_command_line_takes_every_command_that_is_shown_whole(page, name, arguments):
    group = get_command(application())
    command = group.get_command(typer.Context(group), name)
    command.make_context(name, list(arguments))  # raises what a user would read


def test_most_commands_are_shown_whole():
    assert len(WHOLE) > 100


@pytest.mark.parametrize("fence", [fence for fence in fences() if fence.reason], ids=lambda fence: fence.name)
def test_what_is_not_run_says_why(fence):
    assert len(fence.reason.split()) >= 2


def test_every_block_is_of_a_kind_that_is_looked_at():
    kinds = {found for page in PAGES for found in re.findall(r"^ *```([\w{].*)$", page.read_text(), re.MULTILINE)}
    assert kinds <= {*RUN, "text", "yaml", "json"}


def test_every_target_of_make_that_is_shown_is_there():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {target for page in PAGES for target in re.findall(r"^`?make (\w+)", page.read_text(), re.MULTILINE)}
    assert {"search", "test", "quick"} <= shown <= targets


@pytest.mark.slow
def test_what_the_pages_show_runs_from_top_to_bottom(tmp_path, data_root):
    programs = tmp_path / "programs"
    programs.mkdir()
    _write_program(programs / "datg")
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DATG_DATA": str(data_root)}
    for fence in fences():  # one folder for all pages: a search that an earlier page has run is gone on with, and done
        if fence.reason:
            continue
        lines = [line for line in fence.text.splitlines() if line.split()[:1] not in ([BY_CI], ["source"])]
        call = [sys.executable, "-c", fence.text] if fence.language == "python" else ["bash", "-ec", "\n".join(lines)]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{fence.name}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _write_program(path: Path) -> None:
    """Write a `datg` whose searches are short."""
    real = shlex.quote(str(Path(sys.executable).parent / "datg"))
    path.write_text(f'#!/bin/sh\n[ "$1" = search ] && set -- "$@" {SHORT}\nexec {real} "$@"\n')
    path.chmod(0o755)
