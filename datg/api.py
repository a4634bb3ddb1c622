"""What `import datg` offers: data sets, trials, searches and evaluations from Python."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from datg.data.catalog import Dataset
from datg.data.catalog import data_root as find_root
from datg.data.catalog import open_dataset as _open_dataset
from datg.inference.load import load_model as _load_model
from datg.inference.model import FewShotModel
from datg.search.ray.resources import Resources
from datg.trial.accuracies import Evaluation
from datg.trial.config import TrialConfig
from datg.trial.data import TrialData
from datg.trial.final_evaluation import choose_device, evaluate_best
from datg.trial.find_checkpoint import find_checkpoint, novel_classes
from datg.trial.folder import ValidationReport
from datg.trial.prepare import check_trial
from datg.trial.records import TrialRecord, ranked
from datg.trial.run import StopTrial, TrialResult
from datg.trial.run import run_trial as _run_trial

__all__ = [
    "FewShotModel",
    "StopTrial",
    "TrialConfig",
    "evaluate",
    "load_model",
    "open_dataset",
    "run_search",
    "run_trial",
]


def open_dataset(name: str, data_root: Path | str | None = None) -> Dataset:
    """Open a data set by name; ``glyphs`` is built in, others are imported before.

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
        folder: where checkpoints and reports are kept; a trial found there goes on where it was.
        device: where to train.

    Raises:
        ConfigError: the configuration does not fit the data.
        TrialDiverged: a loss was NaN or infinite.
    """
    check_trial(config, dataset)
    trial_folder = None if folder is None else Path(folder)
    return _run_trial(config, TrialData.from_dataset(dataset), report=report, folder=trial_folder, device=device)


def run_search(
    dataset: str,
    *,
    settings: Mapping[str, Any] | None = None,
    output: Path | str = "runs",
    data_root: Path | str | None = None,
    resources: Resources | None = None,
    references: bool = True,
    notify: Callable[[str], None] = lambda message: None,
) -> list[TrialRecord]:
    """Search hyperparameters and return all trials with a score, best validation first; nothing goes to MLflow.

    Args:
        dataset: name of the data set.
        settings: dotted keys and values, such as ``{"strategy.name": "datg", "search.trials": 10}``.
        output: folder in which the search gets one of its own.
        data_root: where data sets live.
        resources: what it may use; Ray is started here by default.
        references: whether the search is measured against Vanilla, and the setting that it begins from if no trial has it.
        notify: told what the user should know.

    Raises:
        ConfigError: something that was asked for cannot be run.
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
        )
    )
    with session.lock:
        run_session(session, notify=notify)
    return ranked(session.records())


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
        device: where; a GPU if there is one by default.
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
        run: folder of a trial, a search or a final training, or a checkpoint.
        episodes: number of tasks; as configured by default.
        shots: K; as trained by default.
        data_root: where data sets live.
        device: where; a GPU if there is one by default.

    Returns:
        `(episodes,)` accuracies, with their mean and its 95 % interval.
    """
    path = find_checkpoint(Path(run))
    _, novel = novel_classes(path, None if data_root is None else Path(data_root), shots=shots)
    return evaluate_best(path, novel, device=device, tasks=episodes, shots=shots)
