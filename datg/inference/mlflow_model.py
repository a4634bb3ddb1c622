"""A model in MLflow: weights and temperatures as artifacts, code as files, signature, example and requirements. No pickle."""

import base64
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datg.final_training.run import PreparedTraining
from datg.inference.apply import Answers
from datg.inference.examples import by_class
from datg.inference.model import FewShotModel
from datg.inference.package import read_calibration, write_package
from datg.inference.requests import ARRAY, LABEL, PICTURE, VALUES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

ALIAS = "best"
SEEDS_TAG = "seeds"  # of a logged model
CODE = Path(__file__).with_name("pyfunc_model.py")
# What is imported to answer a request; this package itself lies in the model.
REQUIREMENTS = (
    *(
        "mlflow",
        "torch",
        "numpy",
        "numba",
        "scipy",
        "scikit-learn",
        "pandas",
        "pyarrow",
        "pillow",
        "pydantic",
        "PyYAML",
    ),
    *("safetensors", "filelock"),
)


def save_with_support(model: FewShotModel, answers: Answers, folder: Path) -> None:
    """Save an MLflow model that classifies by the support set of ``answers`` into a new or empty ``folder``."""
    import mlflow

    temperature, support = answers.predictions.temperature, by_class(answers.support)
    table = [] if temperature.error is None else [asdict(temperature)]
    with tempfile.TemporaryDirectory() as temporary, _quiet():
        package = Path(temporary) / "model"
        write_package(package, list(model.networks), table, support)
        example = request_rows(answers.queries.examples[:2], None)
        mlflow.pyfunc.save_model(path=str(folder), **_description(model, package, example))


def registered_name(dataset: str) -> str:
    """Return what the models of a data set are called in MLflow's registry."""
    return f"datg-{dataset}"


def log_training(model: FewShotModel, prepared: PreparedTraining, run_id: str, uri: str, *, register: bool) -> str:
    """Log the model of a final training to its run in MLflow, once, and return its URI.

    Args:
        model: all seeds that have ended, with a table of temperatures.
        prepared: the training.
        run_id: of the run above its seeds.
        uri: of the tracking store.
        register: whether it becomes the version of ``datg-<dataset>`` that the alias ``best`` names.

    Raises:
        Exception: whatever MLflow raises.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    seeds = ",".join(str(network.config.seed) for network in model.networks)
    model_uri = _logged(client, run_id, seeds) or _log(model, prepared, run_id, uri, seeds)
    if not register:
        return model_uri
    name = registered_name(prepared.config.dataset)
    client.set_registered_model_alias(name, ALIAS, _version_of(client, name, model_uri, run_id))
    return f"models:/{name}@{ALIAS}"


def _logged(client: "MlflowClient", run_id: str, seeds: str) -> str:
    """Return the URI of the model of these seeds that a run has already; "" if it has none."""
    outputs = client.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else []:
        if client.get_logged_model(output.model_id).tags.get(SEEDS_TAG) == seeds:
            return f"models:/{output.model_id}"
    return ""


def _log(model: FewShotModel, prepared: PreparedTraining, run_id: str, uri: str, seeds: str) -> str:
    import mlflow

    mlflow.set_tracking_uri(uri)
    with tempfile.TemporaryDirectory() as folder, _quiet(), mlflow.start_run(run_id=run_id):
        package = Path(folder) / "model"
        write_package(package, list(model.networks), read_calibration(prepared.folder), None)
        described = _description(model, package, _example_of(prepared))
        return str(mlflow.pyfunc.log_model(name="model", tags={SEEDS_TAG: seeds}, **described).model_uri)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's bars and hints off the terminal."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _version_of(client: "MlflowClient", name: str, model_uri: str, run_id: str) -> str:
    """Return the version under which a model is registered, registered now if need be."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = model_uri.removeprefix("models:/")
    for known in client.search_model_versions(f"name='{name}'"):
        if model_id in Path(str(known.source)).parts:
            return str(known.version)
    source = client.get_logged_model(model_id).artifact_location
    return str(client.create_model_version(name, source, run_id=run_id, model_id=model_id).version)


def _description(model: FewShotModel, package: Path, example: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what MLflow is told of a model, whether it logs or saves it."""
    import pandas as pd

    config = model.config
    return {
        "python_model": str(CODE),
        "artifacts": {"model": str(package)},
        "code_paths": [str(Path(__file__).parent.parent)],
        "signature": _signature(of_pictures=len(model.shape) == 3),
        "input_example": pd.DataFrame(example),
        "pip_requirements": [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
        "metadata": {"dataset": config.dataset, "strategy": config.strategy_name, "learner": config.learner_name},
    }


def _signature(*, of_pictures: bool) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Map, Schema

    label = ColSpec(DataType.string, LABEL, required=False)
    columns = [ColSpec(Array(DataType.double), VALUES)]
    if of_pictures:
        array = Array(Array(Array(DataType.long)))
        columns = [ColSpec(DataType.string, PICTURE, required=False), ColSpec(array, ARRAY, required=False)]
    answers = [ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")]
    return ModelSignature(
        inputs=Schema([*columns, label]), outputs=Schema([*answers, ColSpec(Map(DataType.double), "probabilities")])
    )


def _example_of(prepared: PreparedTraining) -> list[dict[str, Any]]:
    """Return a request with a support set and queries of validation classes."""
    table, ways = prepared.dataset.part("validation"), prepared.config.task.ways
    rows: list[dict[str, Any]] = []
    queries = []
    for index in range(ways):
        first, second = table.examples[table.rows_of_class(index)[:2]]
        rows += request_rows(first[None], table.names[index])
        queries.append(second)
    return rows + request_rows(np.stack(queries), None)


def request_rows(examples: npt.NDArray[Any], label: str | None) -> list[dict[str, Any]]:
    """Return the rows of a request for prepared examples, `(n, *shape)`; those without a label are queries."""
    if examples.ndim == 4:
        return [{PICTURE: _encoded(example), LABEL: label} for example in examples]
    return [{VALUES: example.astype(np.float64).tolist(), LABEL: label} for example in examples]


def _encoded(picture: npt.NDArray[Any]) -> str:
    """Return a `(3, height, width)` uint8 picture as the bytes of a PNG file in base64."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()
