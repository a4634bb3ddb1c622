"""`datg check_cluster`: whether each node of a Ray cluster can run trials."""

import json
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datg.cli.options import RESOURCES, Json, Output, Verbose
from datg.runtime.called import RUNS
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import leave

if TYPE_CHECKING:
    from datg.search.ray.nodes import NodeReport


def check_cluster(
    address: Annotated[
        str,
        typer.Option(help="Address of the cluster: HOST:PORT, or auto for this machine's.", rich_help_panel=RESOURCES),
    ] = "auto",
    output: Output = RUNS,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Look at each node of a Ray cluster: this package, the shared folder, GPUs, shared memory, the clock.

    A search with --address does the same before its first trial.

    Example: datg check_cluster --address auto --output /shared/runs
    """
    from datg.cli.console import console, print_rows, say

    out = console()
    out.print("connecting, and looking at each node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own dependencies
        from datg.search.ray.cluster import examine_cluster

        reports = examine_cluster(address, output.absolute())
    if as_json:
        print(json.dumps([asdict(report) for report in reports]))
    else:
        print_rows([_row(report) for report in reports], out)
        for report in reports:
            for problem in report.problems:
                say(out, f"node {report.name}: {problem}")
    leave(ExitCode.USAGE if any(report.problems for report in reports) else ExitCode.DONE)


def _row(report: "NodeReport") -> dict[str, Any]:
    found = report.found
    return {
        "node": report.name,
        "CPUs": int(report.resources.get("CPU", 0)),
        "GPUs": int(report.resources.get("GPU", 0)),
        "torch": found.get("versions", {}).get("torch", "-"),
        "code": found.get("versions", {}).get("code", "-"),
        "shared folder": "yes" if found.get("sees") and not found.get("write") else "no",
        "can run trials": "no" if report.problems else "yes",
    }
