"""From what a user points at to a model: a search, a trial, a final training, a file, or a model in MLflow."""

from dataclasses import replace
from pathlib import Path

import torch

from datg.errors import ConfigError
from datg.final_training.run import TRAINING
from datg.inference.model import FewShotModel
from datg.inference.package import is_package, read_calibration, read_networks, read_support
from datg.inference.temperatures import Progress, from_table, on_validation, validation_of
from datg.trial.find_checkpoint import find_checkpoint
from datg.trial.folder import BEST
from datg.trial.model import BestWeights, load_best
from datg.trial.records import has_succeeded

MLFLOW = "models:/"
PACKAGE = Path("artifacts") / "model"  # in the folder of an MLflow model


def load_model(
    source: Path | str,
    *,
    output: Path = Path("runs"),
    data_root: Path | None = None,
    device: torch.device | str = "cpu",
    tracking_uri: str | None = None,
    progress: Progress = lambda done, total: None,
) -> FewShotModel:
    """Load a model.

    Args:
        source: a search (its best trial by validation), a trial, a final training (all its seeds), a checkpoint, a folder that
            `apply --save-model` wrote, or ``models:/NAME@ALIAS``.
        output: where searches and final trainings are looked for by name.
        data_root: where its data set lies, on whose validation classes probabilities are calibrated.
        device: where to compute.
        tracking_uri: of the MLflow store of ``models:/``.
        progress: called while a temperature is fitted.

    Raises:
        ConfigError: there is no model, or it is of another version.
    """
    place = find_place(source, output, tracking_uri)
    package = package_in(place)
    table = read_calibration(package or place) if place.is_dir() else []
    model = FewShotModel(
        networks=_networks(place) if package is None else read_networks(package),
        calibration=on_validation(data_root, progress),
        source=str(source),
        device=torch.device(device),
        support=None if package is None else read_support(package),
    )
    if table and isinstance(validation_of(model, data_root), str):
        return replace(model, calibration=from_table(table))
    return model


def find_place(source: Path | str, output: Path, tracking_uri: str | None) -> Path:
    """Return the file or folder that ``source`` names, downloaded if it is in MLflow.

    Raises:
        ConfigError: there is none.
    """
    text = str(source)
    if text.startswith(MLFLOW.rstrip("/")):
        return _download(text, tracking_uri)
    for path in (Path(text), output / text):
        if path.exists():
            return path
    raise ConfigError(
        f"there is no model {text}, neither as a path nor in {output}; give the folder of a search, a trial or a final training, "
        f"a best.safetensors, or {MLFLOW}NAME@ALIAS."
    )


def _download(uri: str, tracking_uri: str | None) -> Path:
    import mlflow
    from mlflow.exceptions import MlflowException

    from datg.tracking.store import how_to_look
    from datg.tracking.store import tracking_uri as store

    try:
        return Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=store(tracking_uri)))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{uri} cannot be loaded ({reason}); what is registered is shown by: {how_to_look(store(tracking_uri))}"
        ) from error


def package_in(place: Path) -> Path | None:
    """Return where in a folder a model that stands by itself lies; None where there is none."""
    return next((folder for folder in (place, place / PACKAGE) if is_package(folder)), None)


def _networks(place: Path) -> list[BestWeights]:
    if (place / TRAINING).is_file():
        seeds = {path.parent.name.removeprefix("seed-"): path for path in place.glob(f"seed-*/{BEST}")}
        numbers = sorted(int(name) for name in seeds if name.isdigit())
        ended = [seeds[str(number)] for number in numbers if has_succeeded(seeds[str(number)].parent)]
        if ended:
            return [load_best(path) for path in ended]
    return [load_best(find_checkpoint(place))]
