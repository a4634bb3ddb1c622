"""`datg export`: write the best configurations of a search for final training."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from datg.cli.options import OUTPUT, WHAT, Json, Output, Verbose
from datg.runtime.called import RUNS


def export(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    top: Annotated[
        int, typer.Option(min=1, help="How many of the best configurations to write.", rich_help_panel=WHAT)
    ] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the YAML files.", rich_help_panel=OUTPUT)] = Path("configs"),
    output: Output = RUNS,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write the best configurations of SEARCH, ranked by validation, as YAML files for final training.

    Example: datg export dermnet-20261122-1 --top 3 --out configs
    """
    from datg.search.export import export_best, how_to_train
    from datg.search.state.records import open_records
    from datg.storage.files import read_yaml
    from datg.tracking.sent import runs_by_trial

    folder, settings, records = open_records(output, search)
    mlflow_runs = runs_by_trial(folder.mlflow)
    paths = export_best(folder, settings, records, top=top, out=out, mlflow_runs=mlflow_runs)
    if as_json:
        print(json.dumps([str(path) for path in paths]))
        return
    if len(paths) < top:
        print(f"only {len(paths)} of the {top} asked for: no other trial of the search has finished")
    for path in paths:
        print(f"{path}: {describe(read_yaml(path)['provenance'])}\n  {how_to_train(path, settings)}")


def describe(provenance: dict[str, Any]) -> str:
    """Return which trial an exported configuration is of, how it was chosen, and its scores on validation tasks."""
    selection = provenance["selection"]
    fresh = selection["fresh validation accuracy"]
    scores = f"validation {selection['validation accuracy']:.4f}" + (f", on fresh tasks {fresh:.4f}" if fresh else "")
    return f"trial {provenance['trial']} ({selection['trial is']}) of {selection['of trials']}, {scores}"
