"""Brings MLflow up to date with a search that nobody drives."""

from pathlib import Path

from datg.data.catalog import open_dataset, with_test_dataset
from datg.display import console
from datg.errors import without_password
from datg.search.folder import DriverLock, find_folder
from datg.search.results import open_records, parent_run
from datg.stop import RESUMABLE
from datg.tracking.view import MlflowView, count_unsent, how_to_look, read_sent, tracking_uri


def sync_search(output: Path, search: str, *, storage: str | None, root: Path | None, uri: str | None) -> int:
    """Sends what is missing; returns the exit code: 0, or 75 if MLflow does not take everything.

    Raises:
        ConfigError: there is no such search, or it is being driven.
        StateError: it is damaged.
    """
    out, store = console(), tracking_uri(uri)
    with DriverLock(find_folder(output, search)):
        folder, settings, records = open_records(output, search, storage)
        config = settings.trial_config
        place = root or Path(settings.data_root)
        dataset = with_test_dataset(open_dataset(config.dataset, place), config.evaluation.test_dataset, place)
        view = MlflowView(store, parent_run(folder, settings), dataset, lambda: records)
        done = len(records) >= settings.trials and all(record.complete for record in records)
        try:
            view.finish("FINISHED" if done else "KILLED")
        except Exception as error:  # whatever MLflow, its database or the network throw
            lacking = count_unsent(records, read_sent(folder.mlflow)) or "what it lacked"
            reason = without_password((str(error).strip() or type(error).__name__).splitlines()[0])
            out.print(f"MLflow at {without_password(store)} does not take the results ({reason}); it lacks {lacking}.")
            return RESUMABLE
    out.print(f"MLflow has everything of {folder.name}: {len(records)} trials; {how_to_look(store)}")
    return 0
