"""Exports the best configurations of a search as YAML that final training takes unchanged."""

from collections.abc import Mapping
from pathlib import Path

from datg.errors import ConfigError
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.storage.files import write_yaml
from datg.trial.records import TrialRecord, ranked, read_config


def export_best(
    folder: SearchFolder,
    settings: SearchSettings,
    records: list[TrialRecord],
    *,
    top: int,
    out: Path,
    mlflow_runs: Mapping[int, str],
) -> list[Path]:
    """Write the ``top`` best trials by validation, complete ones only, as ``<search>-top<n>.yaml``.

    Raises:
        ConfigError: the search has no complete trial.
    """
    best = [record for record in ranked(records) if record.state == "done"][:top]
    if not best:
        raise ConfigError(f"search {folder.name} has no finished trial yet; resume it with --resume {folder.name}.")
    paths = []
    for rank, record in enumerate(best, 1):
        path = out / f"{folder.name}-top{rank}.yaml"
        write_export(path, folder, settings, record, mlflow_runs.get(record.number))
        paths.append(path)
    return paths


def write_export(
    path: Path, folder: SearchFolder, settings: SearchSettings, record: TrialRecord, mlflow_run: str | None
) -> None:
    """Write one trial's configuration with its provenance, the id of its MLflow run (None if there is none) among it."""
    content = {
        "config": read_config(record.folder),
        "provenance": {
            "search": folder.name,
            "trial": record.number,
            "mlflow run": mlflow_run,
            "validation accuracy": record.objective,
            "validation ci95": record.last.objective_ci95 if record.last else None,
            "data": settings.provenance,
            "versions": settings.versions,
        },
    }
    write_yaml(path, content, header=f"# python launchers/train.py {path} --seeds 3\n")
