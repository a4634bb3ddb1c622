"""`datg report`: one page that tells what was found."""

import json
from pathlib import Path
from typing import Annotated

import typer

from datg.cli.options import OUTPUT, Json, Output, Verbose
from datg.runtime.called import RUNS


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="SEARCH...",
            help="Names or folders of searches, of a comparison, a reproduction or a final training.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write.", show_default="report.html in the folder", rich_help_panel=OUTPUT),
    ] = None,
    output: Output = RUNS,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write what SEARCH found as one HTML file that needs no network; also while it runs. Several stand side by side.

    Example: datg report dermnet-20261122-1

    Example: datg report dermnet-20261122-1 dermnet-20261123-1 --out both.html
    """
    from datg.cli.destinations import check_destinations
    from datg.report.page.write import write_report

    check_destinations({"--out": (out, "")}, [])
    path = write_report(output, runs, out)
    print(json.dumps({"report": str(path)}) if as_json else path)
