"""Pages that are made from the code say everything that they should."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def pages():
    """Every page that is made from the code, by its path."""
    found = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(found)
    found.loader.exec_module(hooks)
    return {path: "\n".join(lines) for path, lines in hooks.pages()}


def rows(page):
    return [[cell.strip() for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| `")]


def test_every_key_says_what_it_is(pages):
    keys = [row for path, page in pages.items() if path != "reference/strategies/index.md" for row in rows(page)]
    assert {"| `training.lr`", "| `strategy.mmd_weight`", "| `learner.inner_lr`"} <= {row[0] for row in keys}
    assert [row[0] for row in keys if len(row) > 3 and not row[3].strip("| ")] == []
    assert [row[0] for row in keys if not row[1]] == []


def test_ranges_are_those_of_the_code(pages):
    (weight,) = [row for row in rows(pages["reference/strategies/datg.md"]) if row[0] == "| `strategy.mmd_weight`"]
    assert weight[1:3] == ["number, at least 0", "1.0"] and "log, 0.001 to 10" in weight[4]


def test_every_command_shows_its_help(pages):
    shown = pages["reference/commands.md"]
    assert shown.count("Usage: datg ") == shown.count("\n## ") and "Usage: datg search [OPTIONS]" in shown


def test_every_exit_code_is_explained(pages):
    lines = pages["reference/exit_codes.md"].splitlines()[4:]
    assert len(lines) == 7 and not any(line.endswith("|  |") for line in lines)
