"""`datg export`: write the best configurations of a search for final training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datg.cli.options import OUTPUT, WHAT, Json, Output, Verbose

if TYPE_CHECKING:
    from datg.trial.records import TrialRecord
    from datg.trial.selection import Selection


def export(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    top: Annotated[
        int, typer.Option(min=1, help="How many of the best configurations to write.", rich_help_panel=WHAT)
    ] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the YAML files.", rich_help_panel=OUTPUT)] = Path("configs"),
    output: Output = Path("runs"),
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write the best configurations of SEARCH, ranked by validation, as YAML files for final training.

    Example: datg export dermnet-20261122-1 --top 3 --out configs
    """
    from datg.search.export import export_best, finished_best
    from datg.search.state.records import open_records
    from datg.tracking.sent import runs_by_trial
    from datg.trial.selection import select

    folder, settings, records = open_records(output, search)
    mlflow_runs = runs_by_trial(folder.mlflow)
    paths = export_best(folder, settings, records, top=top, out=out, mlflow_runs=mlflow_runs)
    if as_json:
        print(json.dumps([str(path) for path in paths]))
        return
    if len(paths) < top:
        print(f"only {len(paths)} of the {top} asked: the others were pruned, failed or are not done")
    selection = select(records)
    for path, record in zip(paths, finished_best(records), strict=False):
        print(f"{path}: {describe(record, selection)}\n  python launchers/train.py {path} --seeds 3")


def describe(record: "TrialRecord", selection: "Selection") -> str:
    """Return how a trial was chosen, and its scores on validation tasks."""
    mark = {"best": "the best", "tie": "cannot be told from the best"}.get(selection.mark(record.number), "")
    fresh = record.fresh_validation
    parts = [f"trial {record.number} of {selection.of}" + (f" ({mark})" if mark else "")]
    parts.append(f"validation {record.objective:.4f}")
    return ", ".join([*parts, *([f"on fresh tasks {fresh.accuracy:.4f}"] if fresh else [])])
