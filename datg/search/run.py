"""Runs a search to its last evaluation."""

import warnings
from collections.abc import Callable, Mapping

from datg.runtime.exit_codes import ExitCode
from datg.search.comparison.forms import write_tables
from datg.search.export import write_export
from datg.search.session import SearchSession
from datg.trial.selection import select


def run_search(
    session: SearchSession,
    *,
    notify: Callable[[str], None] = lambda message: None,
    mlflow_runs: Callable[[], Mapping[int, str]] = dict,
) -> ExitCode:
    """Run what is missing of a search and return the exit code.

    Args:
        session: the search; its lock must be held.
        notify: told what the user should know.
        mlflow_runs: gives the ids of MLflow runs by trial number, as far as there are any; they go into the export.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own dependencies
        from datg.search.ray.cluster import shut_down
        from datg.search.ray.run import run_trials

        try:
            session.tasks = run_trials(session.driver, session.dataset, session.allocation, session.stop, notify)
        finally:
            shut_down()
    if session.driver.out_of_reach or (session.stop.requested and not session.driver.all_done):
        return session.stop.exit_code
    if not session.driver.all_tried:
        return ExitCode.RESUMABLE
    records = session.records()
    selection = select(records)
    broken = len(session.driver.ended) < session.settings.trials  # by their machines: they can be resumed
    if selection.best is None:
        return ExitCode.RESUMABLE if broken else ExitCode.NO_SUCCESS
    if session.settings.grid:
        write_tables(session.folder, session.settings, records)
    else:
        run_id = mlflow_runs().get(selection.best.number)
        write_export(session.folder.best, session.folder, session.settings, selection.best, selection, run_id)
    if session.tasks.damaged:
        return ExitCode.DAMAGED
    left = broken or session.tasks.errors or not session.driver.all_done
    return ExitCode.RESUMABLE if left else ExitCode.DONE
