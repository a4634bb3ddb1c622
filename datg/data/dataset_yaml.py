"""The YAML that goes with a data set: how it is imported, what is fixed, and what is searched."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from datg.config import Layers, sentences
from datg.data.splits import TaskSize
from datg.errors import ConfigError, unknown_name
from datg.storage.files import read_yaml

SECTIONS = ("raw", "import", "fixed", "search", "space")
GENERIC_IMAGES, GENERIC_CELLS = "generic_images", "generic_cells"


def read_dataset_yaml(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML, each of which may be missing.

    ``raw`` says where a data set's files come from; then ``import``, ``fixed`` values, ``search`` settings and the ``space``.

    Raises:
        ConfigError: it has other sections.
    """
    content = read_yaml(path)
    for section in content:
        if section not in SECTIONS:
            raise ConfigError(f"{path}: " + unknown_name("section", str(section), SECTIONS))
        if not isinstance(content[section] or {}, dict):
            raise ConfigError(f"{path}: section `{section}` must map keys to values, got {content[section]!r}.")
    return content


def task_size_of(content: dict[str, Any], *, source: str) -> TaskSize:
    """Return the tasks that the ``fixed`` section of a YAML names; the paper's where it names none.

    Raises:
        ConfigError: with every mistake.
    """
    try:
        return TaskSize.model_validate((content.get("fixed") or {}).get("task") or {})
    except ValidationError as error:
        messages = sentences(error, TaskSize, "task.")
        raise ConfigError("\n".join(f"{source}: {sentence}" for sentence in messages)) from None


def own_dataset_yaml(dataset: str, spaces: Path) -> Path | None:
    """Return the YAML in ``spaces`` that is called like ``dataset``, if there is one."""
    path = spaces / f"{dataset}.yaml"
    return path if path.exists() else None


def dataset_yaml_for(dataset: str, shape: tuple[int, ...], spaces: Path) -> Path:
    """Return the YAML called like ``dataset``, else the generic one for examples of ``shape``: pictures or cells."""
    generic = GENERIC_IMAGES if len(shape) == 3 else GENERIC_CELLS
    return own_dataset_yaml(dataset, spaces) or spaces / f"{generic}.yaml"


def add_dataset_yaml(layers: Layers, content: dict[str, Any]) -> Any:
    """Put a space file's fixed values and search settings on ``layers``; return its ``space`` section, None if it has none."""
    layers.add(content.get("fixed") or {}, "YAML")
    if content.get("search"):
        layers.add({"search": content["search"]}, "YAML")
    return content.get("space")
