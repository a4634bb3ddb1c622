"""Runs a search in the foreground: shown in MLflow and on a live line, with its table at the end."""

import json
from collections.abc import Callable
from typing import Any

from datg.display import console, print_rows, status_line
from datg.search.conduct import Prepared, conduct, describe, parent_run
from datg.tracking.view import MlflowView, tracking_uri


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
    view = MlflowView(
        tracking_uri(uri), parent_run(prepared), prepared.dataset, prepared.records, warn=lambda text: out.print(text)
    )
    out.print(f"search {prepared.folder.name} in {prepared.folder.path}")
    code = 1
    with prepared.lock:
        view.start()
        try:
            with status_line(lambda: describe(prepared.driver.situation), out):
                code = conduct(prepared)
        finally:
            sent = view.close(status="FINISHED" if code == 0 else "KILLED" if code in (75, 130) else "FAILED")
    table = rows(prepared)
    if as_json:
        print(json.dumps({"search": prepared.folder.name, "exit": code, "trials": table}))
    else:
        print_rows(table, out)
    for line in prepared.closing_lines(code, tracking_uri(uri), sent=sent):
        out.print(line, soft_wrap=True)
    return code
