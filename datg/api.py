"""What `import datg` offers: data sets, trials, searches and evaluations from Python."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from datg.data.catalog import Dataset
from datg.data.catalog import data_root as find_root
from datg.data.catalog import open_dataset as _open_dataset
from datg.errors import ConfigError
from datg.inference.load import load_model as _load_model
from datg.inference.model import FewShotModel
from datg.report.leaderboard import leaderboard
from datg.search.ray.resources import Resources
from datg.trial.accuracies import Evaluation
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.final_evaluation import choose_device, evaluate_best
from datg.trial.find_checkpoint import find_checkpoint, novel_classes
from datg.trial.folder import ValidationReport
from datg.trial.prepare import check_trial
from datg.trial.records import TrialRecord, read_config
from datg.trial.run import StopTrial, TrialResult
from datg.trial.run import run_trial as _run_trial
from datg.trial.selection import select

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FewShotModel",
    "SearchResult",
    "StopTrial",
    "TrialConfig",
    "evaluate",
    "load_model",
    "open_dataset",
    "open_search",
    "run_search",
    "run_trial",
]


def open_dataset(name: str, data_root: Path | str | None = None) -> Dataset:
    """Open a data set by name (``glyphs`` is built in; import others first).

    Args:
        name: of the data set.
        data_root: where data sets live; ``$DATG_DATA``, else ``./data`` by default.

    Raises:
        ConfigError: there is none of that name.
        DataError: it is damaged.
    """
    return _open_dataset(name, find_root(None if data_root is None else Path(data_root)))


def run_trial(
    config: TrialConfig,
    dataset: Dataset,
    *,
    report: Callable[[ValidationReport], None] = lambda report: None,
    folder: Path | str | None = None,
    device: torch.device | str = "cpu",
) -> TrialResult:
    """Train and validate one configuration; see :func:`datg.trial.run.run_trial`.

    Args:
        config: what to train.
        dataset: its base classes are trained on, its validation classes scored on.
        report: called after every validation; may raise :class:`StopTrial`.
        folder: where checkpoints and reports are kept; a trial found there is resumed.
        device: where to train.

    Returns:
        How the trial ended, and its last validation.

    Raises:
        ConfigError: the configuration does not fit the data.
        StateError: what lies in ``folder`` is damaged, or of another configuration.
        TrialTaken: another process works on ``folder``.
        TrialDiverged: a loss was NaN or infinite.
    """
    dataset = dataset.with_base_classes(config.base_classes)
    check_trial(config, dataset)
    trial_folder = None if folder is None else Path(folder)
    return _run_trial(config, TrialData.from_dataset(dataset), report=report, folder=trial_folder, device=device)


@dataclass(frozen=True)
class SearchResult:
    """Hold what a search has found.

    Attributes:
        folder: of the search.
        records: its trials by number.
        references: the trainings that it is measured against.
    """

    folder: Path
    records: list[TrialRecord]
    references: list[TrialRecord]

    @property
    def best(self) -> TrialRecord | None:
        """Return the finished trial with the highest validation accuracy, a best of many; None if none has finished."""
        return select(self.records).best

    @property
    def best_config(self) -> TrialConfig:
        """Return the configuration of that trial, for a final training.

        Raises:
            ConfigError: no trial has finished.
        """
        if self.best is None:
            raise ConfigError(f"no trial of {self.folder.name} has finished; `records` tell how each ended.")
        return TrialConfig.from_dict(read_config(self.best.folder))

    def dataframe(self) -> "pd.DataFrame":
        """Return one row per trial, best validation first: outcome, scores with 95 % half-widths, searched values."""
        import pandas as pd

        return pd.DataFrame(leaderboard(self.records))


def open_search(search: Path | str, output: Path | str = "runs") -> SearchResult:
    """Open what a search has found so far, wherever it was run.

    Args:
        search: its name or folder.
        output: where searches are looked for by name.

    Raises:
        ConfigError: there is none.
        StateError: it is damaged, or belongs to somebody else.
    """
    from datg.search.settings import SearchSettings
    from datg.search.state.folder import find_folder
    from datg.search.state.records import RecordReader

    folder = find_folder(Path(output), str(search))
    reader = RecordReader(folder, SearchSettings.load(folder))
    return SearchResult(folder.path, reader.records(), reader.references())


def run_search(
    dataset: str,
    *,
    settings: Mapping[str, Any] | None = None,
    output: Path | str = "runs",
    data_root: Path | str | None = None,
    resources: Resources | None = None,
    references: bool = True,
    enqueue: Sequence[Mapping[str, Any]] = (),
    warm_start: str | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> SearchResult:
    """Search hyperparameters; nothing goes to MLflow.

    Args:
        dataset: name of the data set.
        settings: dotted keys and values, such as ``{"strategy.name": "datg", "search.trials": 10}``.
        output: folder in which the search gets one of its own.
        data_root: where data sets live.
        resources: what it may use (:class:`datg.search.ray.resources.Resources`); Ray is started here by default.
        references: whether the search is measured against Vanilla, and the setting that it begins from if no trial has it.
        enqueue: trials to run first: values of searched keys; the others are suggested.
        warm_start: a search over the same keys, whose finished trials the sampler knows from the beginning.
        notify: told what the user should know.

    Returns:
        The search's folder, its trials and its references.

    Raises:
        ConfigError: something that was asked for cannot be run.
        DataError: the data set is missing, damaged or too small.
    """
    from datg.data import search_spaces
    from datg.search.prepare import prepare
    from datg.search.request import Request
    from datg.search.run import run_search as run_session

    session = prepare(
        Request(
            dataset=dataset,
            space_file=None,
            spaces=search_spaces(),
            settings=[],
            flags=dict(settings or {}),
            output=Path(output),
            data_root=None if data_root is None else Path(data_root),
            study_storage=None,
            time_budget=None,
            resources=resources or Resources(),
            references=references,
            enqueue=enqueue,
            warm_start=warm_start,
        )
    )
    for remark in session.remarks:
        notify(remark)
    with session.lock:
        run_session(session, notify=notify)
    return SearchResult(session.folder.path, session.records(), session.references())


def load_model(
    source: Path | str,
    *,
    data_root: Path | str | None = None,
    device: str | None = None,
    tracking_uri: str | None = None,
) -> FewShotModel:
    """Load a trained model that classifies queries by a few examples of each class: ``model.classify(support, queries)``.

    Args:
        source: a search (its best trial by validation), a trial, a final training (all its seeds), a checkpoint, a saved model,
            or ``models:/NAME@ALIAS``.
        data_root: where its data set lies, on whose validation classes probabilities are calibrated.
        device: where to compute; by default a GPU if there is one.
        tracking_uri: of the MLflow store of ``models:/``.

    Raises:
        ConfigError: there is no model, or it is of another version.
    """
    root = None if data_root is None else Path(data_root)
    return _load_model(source, data_root=root, device=choose_device(device), tracking_uri=tracking_uri)


def evaluate(
    run: Path | str,
    *,
    episodes: int | None = None,
    shots: int | None = None,
    data_root: Path | str | None = None,
    device: str | None = None,
) -> Evaluation:
    """Evaluate best weights on tasks of novel classes.

    Args:
        run: folder of a trial or a checkpoint; or of a search or a final training, whose best by validation is taken.
        episodes: number of tasks; as configured by default.
        shots: K; as trained by default.
        data_root: where data sets live.
        device: where to compute; by default a GPU if there is one.

    Returns:
        `(episodes,)` accuracies, with their mean and its 95 % interval.

    Raises:
        ConfigError: there are no weights, or no validation to choose by (a final training on all base examples).
        DataError: the data set is missing, damaged or too small.
    """
    path = find_checkpoint(Path(run))
    _, novel = novel_classes(path, None if data_root is None else Path(data_root), shots=shots)
    return evaluate_best(path, novel, device=device, tasks=episodes, shots=shots)
