"""Data sets: class tables, how they are split into base, validation and novel classes, and where they come from."""

from importlib.resources import files
from pathlib import Path


def search_spaces() -> Path:
    """Return the folder of the YAML files that go with data sets."""
    return Path(str(files("datg.search_spaces")))
