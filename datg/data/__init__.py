"""Data sets: class tables, how they are split into base, validation and novel classes, and where they come from."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def search_spaces() -> Path:
    """Return the folder of the YAML files that go with data sets: inside an installed package, beside it in a checkout."""
    installed = PACKAGE / "search_spaces"
    return installed if installed.is_dir() else PACKAGE.parent / "search_spaces"
