"""Sends MLflow what it lacks of a search: after its server was away, or to another server.

python launchers/sync_mlflow.py dermnet-20261122-1
python launchers/sync_mlflow.py dermnet-20261122-1 --tracking-uri http://127.0.0.1:5000
"""

from pathlib import Path
from typing import Annotated

import typer

from datg.command_line import DataRoot, Output, StudyStorage, TrackingUri, Verbose, leave, run_command


def sync_mlflow(
    search: Annotated[str, typer.Argument(help="Name or folder of the search.")],
    study_storage: StudyStorage = None,
    data_root: DataRoot = None,
    output: Output = Path("runs"),
    tracking_uri: TrackingUri = None,
    verbose: Verbose = False,
) -> None:
    """Brings MLflow up to date with SEARCH."""
    from datg.search.sync import sync_search

    leave(sync_search(output, search, storage=study_storage, root=data_root, uri=tracking_uri))


if __name__ == "__main__":
    run_command(sync_mlflow)
