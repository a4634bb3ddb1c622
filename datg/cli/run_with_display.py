"""Runs a search in the foreground: shown in MLflow and on a live line, with its table at the end."""

import json
from collections.abc import Callable
from typing import Any

from datg.cli.console import console, print_rows, say, show_status
from datg.cli.messages import how_it_stopped, how_to_send, status_line, summary
from datg.cli.mlflow_runs import how_to_compare, search_run
from datg.report.leaderboard import reference_row
from datg.runtime.called import called, command
from datg.runtime.exit_codes import ExitCode
from datg.search.run import run_search
from datg.search.session import SearchSession
from datg.search.state.folder import SearchFolder
from datg.tracking.sent import runs_by_trial
from datg.tracking.store import tracking_uri
from datg.tracking.view import MlflowView
from datg.trial.records import TrialRecord

PARENT_STATUS = {ExitCode.DONE: "FINISHED", ExitCode.RESUMABLE: "KILLED", ExitCode.CTRL_C: "KILLED"}  # else FAILED


def run_with_display(
    session: SearchSession,
    uri: str | None,
    rows: Callable[[list[TrialRecord]], list[dict[str, Any]]],
    *,
    as_json: bool,
    report: bool,
) -> int:
    """Run what is missing of a search and return the exit code.

    Args:
        session: the search.
        uri: of the MLflow tracking store, if it was given.
        rows: makes the table that is printed at the end.
        as_json: print it as JSON on standard output.
        report: whether a page that tells what was found is written at the end.
    """
    out = console()
    for line in session.remarks:
        say(out, line)

    def show_link() -> None:
        where = how_to_compare(session.folder, session.settings, tracking_uri(uri))
        say(out, f"watch in MLflow: {where}")

    view = MlflowView(
        tracking_uri(uri),
        search_run(session.folder, session.settings),
        session.dataset,
        lambda: session.records() + session.references(),
        warn=lambda text: say(out, text),
        opened=show_link,
        resend=how_to_send(session.folder.path, tracking_uri(uri)),
    )
    say(out, f"search {session.folder.name} in {session.folder.path}")
    say(out, f"trials: {session.allocation.describe()}")
    code = ExitCode.BUG
    with session.lock:
        view.start()
        try:
            with (
                show_status(lambda: status_line(session.driver.progress), out),
                session.stop.ending_in_time(lambda: say(out, how_it_stopped(session))),
            ):
                code = run_search(
                    session,
                    notify=lambda line: say(out, line),
                    mlflow_runs=lambda: runs_by_trial(session.folder.mlflow),
                )
            if report and not session.stop.requested:
                _write_report(session.folder, lambda line: say(out, line))
        finally:
            unsent = view.close(status=PARENT_STATUS.get(code, "FAILED"), hurry=lambda: session.stop.requested)
    if session.stop.requested and code == ExitCode.DONE and unsent is not None:
        code = session.stop.exit_code  # a signal came while the rest was being sent
    table = rows(session.records())
    if as_json:
        references = [reference_row(record) for record in session.references()]
        print(json.dumps({"search": session.folder.name, "exit": code, "trials": table, "references": references}))
    else:
        print_rows(table, out)
    for line in summary(session, code, tracking_uri(uri), unsent):
        say(out, line)
    return code


def _write_report(folder: SearchFolder, say: Callable[[str], None]) -> None:
    """Write the page that tells what was found; one that cannot be written costs nothing but a line."""
    try:
        from datg.report.page.write import write_folder  # imports plotly

        say(f"report: {write_folder(folder, running=False)}")
    except Exception as error:
        way = command("report", called(folder.path))
        say(f"report.html was not written ({type(error).__name__}: {error}); try again with: {way}")
