"""An exported configuration, or another file that holds one, read for training."""

from collections.abc import Set
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


def seeds_chosen_by(values: dict[str, Any], provenance: dict[str, Any]) -> set[int]:
    """Return the training seed by which a search chose an exported configuration; nothing for one that no search chose."""
    return {int(values["seed"])} if provenance.get("search") and "seed" in values else set()


def training_seeds(number: int, chosen_by: Set[int]) -> list[int]:
    """Return the first ``number`` seeds 0, 1, ... without those that searches chose by: their luck was chosen, too."""
    return [seed for seed in range(number + len(chosen_by)) if seed not in chosen_by][:number]
