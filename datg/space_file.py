"""The YAML that goes with a data set: how it is imported, what is fixed, and what is searched."""

from pathlib import Path
from typing import Any

from datg.errors import ConfigError, unknown_name
from datg.files import read_yaml

SECTIONS = ("import", "fixed", "search", "space")
GENERIC_IMAGES, GENERIC_CELLS = "generic_images", "generic_cells"


def read_space_file(path: Path) -> dict[str, Any]:
    """The sections of a YAML: ``import``, ``fixed`` values, ``search`` settings and the ``space``; each may be missing.

    Raises:
        ConfigError: it has other sections.
    """
    content = read_yaml(path)
    for section in content:
        if section not in SECTIONS:
            raise ConfigError(f"{path}: " + unknown_name("section", str(section), SECTIONS))
    return content


def own_space_file(dataset: str, spaces: Path) -> Path | None:
    """The YAML in ``spaces`` that is called like ``dataset``, if there is one."""
    path = spaces / f"{dataset}.yaml"
    return path if path.exists() else None


def space_file_of(dataset: str, shape: tuple[int, ...], spaces: Path) -> Path:
    """The YAML called like ``dataset``, else the generic one for examples of ``shape``: pictures or cells."""
    generic = GENERIC_IMAGES if len(shape) == 3 else GENERIC_CELLS
    return own_space_file(dataset, spaces) or spaces / f"{generic}.yaml"
