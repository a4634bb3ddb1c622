"""Exports the best configurations of a search for final training, ranked by validation.

python launchers/export.py dermnet-20261122-1 --top 3 --out configs
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import Json, Output, StudyStorage, Verbose, run_command


def export(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    top: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the YAML files.")] = Path("configs"),
    study_storage: StudyStorage = None,
    output: Output = Path("runs"),
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Writes the best trials' configurations."""
    from datg.search.export import export_best
    from datg.search.results import open_records

    folder, settings, records = open_records(output, search, study_storage)
    paths = export_best(folder, settings, records, top=top, out=out)
    if as_json:
        print(json.dumps([str(path) for path in paths]))
        return
    if len(paths) < top:
        print(f"only {len(paths)} of the {top} asked: the others were pruned, failed or are not done")
    for path in paths:
        print(f"{path}\n  python launchers/train.py {path} --seeds 3")


if __name__ == "__main__":
    run_command(export)
