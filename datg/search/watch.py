"""Runs a search in the foreground: shown in MLflow and on a live line, with its table at the end."""

import json
from collections.abc import Callable
from typing import Any

from datg.display import console, print_rows, status_line
from datg.search.conduct import Prepared, conduct
from datg.search.results import parent_run
from datg.search.telling import closing_lines, describe
from datg.stop import CTRL_C, RESUMABLE
from datg.tracking.view import MlflowView, tracking_uri

STATUS = {0: "FINISHED", RESUMABLE: "KILLED", CTRL_C: "KILLED"}


def watch(
    prepared: Prepared, uri: str | None, rows: Callable[[Prepared], list[dict[str, Any]]], *, as_json: bool
) -> int:
    """Runs what is missing and returns the exit code.

    Args:
        prepared: the search.
        uri: of the MLflow tracking store, if it was given.
        rows: the table that is printed at the end.
        as_json: print it as JSON on standard output.
    """
    out = console()
    for line in prepared.remarks:
        out.print(line, soft_wrap=True)
    view = MlflowView(
        tracking_uri(uri),
        parent_run(prepared.folder, prepared.settings),
        prepared.dataset,
        prepared.records,
        warn=lambda text: out.print(text),
    )
    out.print(f"search {prepared.folder.name} in {prepared.folder.path}")
    code = 1
    with prepared.lock:
        view.start()
        try:
            with status_line(lambda: describe(prepared.driver.situation), out):
                code = conduct(prepared, lambda line: out.print(line, soft_wrap=True))
        finally:
            unsent = view.close(status=STATUS.get(code, "FAILED"), hurry=lambda: prepared.stop.requested)
    if prepared.stop.requested and code == 0 and unsent is not None:
        code = prepared.stop.exit_code  # a signal came while the rest was being sent
    table = rows(prepared)
    if as_json:
        print(json.dumps({"search": prepared.folder.name, "exit": code, "trials": table}))
    else:
        print_rows(table, out)
    for line in closing_lines(prepared, code, tracking_uri(uri), unsent):
        out.print(line, soft_wrap=True)
    return code
