"""Exports the best configurations of a search as YAML that final training takes unchanged."""

from pathlib import Path
from typing import Any

from datg.checkpoint import load_checkpoint
from datg.errors import ConfigError
from datg.files import read_yaml, write_yaml
from datg.records import TrialRecord, ranked
from datg.search.folder import SearchFolder
from datg.search.settings import SearchSettings
from datg.tracking.view import read_sent
from datg.trial import BEST, CONFIG


def export_best(
    folder: SearchFolder, settings: SearchSettings, records: list[TrialRecord], *, top: int, out: Path
) -> list[Path]:
    """Writes the ``top`` best trials by validation, complete ones only, as ``<search>-top<n>.yaml``.

    Raises:
        ConfigError: the search has no complete trial.
    """
    best = [record for record in ranked(records) if record.state == "done"][:top]
    if not best:
        raise ConfigError(f"search {folder.name} has no finished trial yet; resume it with --resume {folder.name}.")
    paths = []
    for rank, record in enumerate(best, 1):
        path = out / f"{folder.name}-top{rank}.yaml"
        write_export(path, folder, settings, record)
        paths.append(path)
    return paths


def write_export(path: Path, folder: SearchFolder, settings: SearchSettings, record: TrialRecord) -> None:
    """Writes one trial's configuration with its provenance."""
    content = {
        "config": config_of(record.folder),
        "provenance": {
            "search": folder.name,
            "trial": record.number,
            "mlflow run": mlflow_run(folder, record.number),
            "validation accuracy": record.objective,
            "validation ci95": record.last.objective_ci95 if record.last else None,
            "data": settings.provenance,
            "versions": settings.versions,
        },
    }
    write_yaml(path, content, header=f"# python launchers/train.py {path} --seeds 3\n")


def config_of(folder: Path) -> dict[str, Any]:
    """A trial's configuration; if its file is damaged, from the header of its best weights.

    Raises:
        StateError: neither can be read.
    """
    try:
        return read_yaml(folder / CONFIG)
    except ConfigError:
        config: dict[str, Any] = load_checkpoint(folder / BEST)[1]["config"]
        return config


def mlflow_run(folder: SearchFolder, number: int) -> str | None:
    """The id of the MLflow run that shows a trial, if it has been made."""
    run: str | None = read_sent(folder.mlflow).trials.get(str(number))
    return run


def read_export(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads configuration values and their provenance.

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
