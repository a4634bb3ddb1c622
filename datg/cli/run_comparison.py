"""Runs a comparison in the foreground: the searches that it begins with, if there are any, then its seeds."""

from typing import TYPE_CHECKING, Any

from datg.cli.run_with_display import run_with_display
from datg.cli.tune import Ended, tune_first
from datg.runtime.exit_codes import ExitCode
from datg.search.comparison.forms import format_rows, row_values
from datg.search.comparison.table import compare
from datg.search.prepare import prepare, prepare_tuned
from datg.search.state.resume import resume_search

if TYPE_CHECKING:
    from datg.search.request import Request
    from datg.trial.records import TrialRecord


def run_comparison(request: "Request", begun: str | None, uri: str | None, *, as_json: bool, report: bool) -> Ended:
    """Run what is missing of a comparison, and return how it ended.

    Args:
        request: of a new one, or to go on with one.
        begun: the name of the one to resume; None for a new one.
        uri: of the MLflow tracking store, if it was given.
        as_json: print its rows as JSON on standard output.
        report: whether a page that tells what was found is written at the end.
    """
    if begun is None and request.comparison is not None and request.comparison.tune:
        begun, request = prepare_tuned(request).name, request.going_on()
    if begun is not None:
        request, tuned = tune_first(request, begun, uri, report=report)
        if tuned.code != ExitCode.DONE:
            return tuned
    session = resume_search(request, begun, comparison=True) if begun is not None else prepare(request)

    def rows(records: "list[TrialRecord]") -> list[dict[str, Any]]:
        compared = compare(records)
        return [row_values(row) for row in compared] if as_json else format_rows(compared)

    code = run_with_display(session, uri, rows, as_json=as_json, report=report)
    return Ended(code, session.stop.exit_code if session.stop.requested else None)
