"""`datg sync_mlflow`: bring MLflow up to date with a search that nobody drives."""

from pathlib import Path
from typing import Annotated

import typer

from datg.cli.options import DataRoot, Output, TrackingUri, Verbose
from datg.runtime.called import RUNS
from datg.runtime.exit_codes import ExitCode
from datg.runtime.signals import leave


def sync_mlflow(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    data_root: DataRoot = None,
    output: Output = RUNS,
    tracking_uri: TrackingUri = None,
    verbose: Verbose = False,
) -> None:
    """Send MLflow what it lacks of SEARCH: after its server was away, or to another server.

    Example: datg sync_mlflow dermnet-20261122-1 --tracking-uri http://127.0.0.1:5000
    """
    leave(sync_search(output, search, root=data_root, uri=tracking_uri))


def sync_search(output: Path, search: str, *, root: Path | None, uri: str | None) -> int:
    """Send what is missing; return the exit code: 0, or 75 if MLflow does not take everything.

    Raises:
        ConfigError: there is no such search, or it is being driven.
        StateError: it is damaged.
    """
    from datg.cli.console import console, say
    from datg.cli.mlflow_runs import how_to_compare, search_run
    from datg.data.catalog import data_root
    from datg.report.status import read_status
    from datg.search.settings import SearchSettings
    from datg.search.state.folder import DriverLock, find_folder
    from datg.search.state.records import RecordReader
    from datg.tracking.sent import count_unsent, read_sent
    from datg.tracking.store import tracking_uri as store_of
    from datg.tracking.view import MlflowView, describe_failure
    from datg.trial.data import open_data
    from datg.trial.records import DONE

    out, store = console(), store_of(uri)
    folder = find_folder(output, search)
    with DriverLock(folder):
        settings = SearchSettings.load(folder)
        reader = RecordReader(folder, settings)
        trials = reader.records()
        records = trials + reader.references()
        dataset = open_data(settings.config, data_root(root, saved=settings.data_root))
        view = MlflowView(
            store, search_run(folder, settings), dataset, lambda: records, warn=out.print, resend="this command"
        )
        works = any(record.state == DONE for record in trials)
        status = "KILLED" if not read_status(folder).done else "FINISHED" if works else "FAILED"
        try:
            view.finish(status)
        except Exception as error:  # whatever MLflow, its database or the network throw
            lacking = count_unsent(records, read_sent(folder.mlflow)) or "some results"
            say(out, f"{describe_failure(store, error)}; it lacks {lacking}.")
            return ExitCode.RESUMABLE
    say(out, f"MLflow has everything of {folder.name}: {len(trials)} trials; {how_to_compare(folder, settings, store)}")
    return ExitCode.DONE
