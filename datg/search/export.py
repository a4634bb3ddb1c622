"""Exports the best configurations of a search as YAML that final training takes unchanged."""

import os
from collections.abc import Mapping
from pathlib import Path

from datg.data.catalog import data_root, data_root_flag
from datg.errors import ConfigError
from datg.runtime.called import called, command
from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.storage.files import write_yaml
from datg.trial.records import DONE, TrialRecord, ranked, read_config
from datg.trial.selection import Selection, select


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
    best = [record for record in ranked(records) if record.state == DONE][:top]
    if not best:
        look = command("status", called(folder.path))
        raise ConfigError(f"search {folder.name} has no finished trial to export; see what happened with: {look}")
    selection, paths = select(records), []
    for rank, record in enumerate(best, 1):
        path = out / f"{folder.name}-top{rank}.yaml"
        write_export(path, folder, settings, record, selection, mlflow_runs.get(record.number))
        paths.append(path)
    return paths


def write_export(
    path: Path,
    folder: SearchFolder,
    settings: SearchSettings,
    record: TrialRecord,
    selection: Selection,
    mlflow_run: str | None,
) -> None:
    """Write one trial's configuration with where it comes from.

    Args:
        path: of the YAML file.
        folder: of the search.
        settings: of the search.
        record: the trial.
        selection: among the trials of the search, which tells how it was chosen.
        mlflow_run: the id of its run; None if there is none.
    """
    config, fresh = read_config(record.folder), record.fresh_validation
    content = {
        "config": config,
        "provenance": {
            "search": folder.name,
            "trial": record.number,
            "mlflow run": mlflow_run,
            "training seed": config["seed"],
            "selection": {
                "of trials": selection.of,
                **({"warm start": settings.warm_start} if settings.warm_start else {}),
                "trial is": selection.mark(record.number) or "neither the best nor a tie",
                "validation accuracy": record.objective,
                "validation ci95": record.last.objective_ci95 if record.last else None,
                "fresh validation accuracy": None if fresh is None else fresh.accuracy,
                "fresh validation ci95": None if fresh is None else fresh.ci95,
            },
            "data": settings.provenance,
            "versions": settings.versions,
        },
    }
    here = os.path.relpath(path)
    shown = path if here.startswith(os.pardir) else Path(here)  # a project's folder may be moved
    write_yaml(path, content, header=f"# {how_to_train(shown, settings)}\n")


def how_to_train(path: Path | str, settings: SearchSettings) -> str:
    """Return the command that trains an exported configuration with three seeds, on the data of its search."""
    return command("train", path, "--seeds 3", *data_root_flag(data_root(saved=settings.data_root)))
