"""An exported configuration, or another file that holds one, read for training."""

from pathlib import Path
from typing import Any

from datg.errors import ConfigError
from datg.storage.files import read_yaml


def read_export(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read configuration values and their provenance.

    They come from an exported configuration, a trial's ``config.yaml``, or a search space, whose ``fixed`` values stand for
    the paper's own setting on that data set.

    Raises:
        ConfigError: it holds none.
    """
    content = read_yaml(path)
    values = content.get("config", content.get("fixed", content))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: the configuration must be a mapping, got {values!r}.")
    return values, dict(content.get("provenance") or {})
