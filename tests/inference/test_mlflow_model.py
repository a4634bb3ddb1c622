"""The MLflow model of a final training: logged once, registered, answered by MLflow's own command, without a pickle."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import datg
from datg.errors import ConfigError, DataError
from datg.inference.model import FewShotModel
from datg.inference.package import read_package, write_package
from datg.inference.requests import answer
from datg.trial.config import TrialConfig
from datg.trial.model import BestWeights, build_learner
from tests.cli.test_commands import ROOT, command, environment
from tests.cli.warm_start import run_command

SMALL = ["backbone.filters=4", "training.iterations=4", "training.eval_every=2", "strategy.name=vanilla"]
SMALL += ["evaluation.validation_tasks=20", "evaluation.test_tasks=20"]
CONFIG = {"dataset": "glyphs", "task": {"ways": 5, "shots": 1, "queries": 15}}


@pytest.fixture(scope="module")
def training(tmp_path_factory, data_root):
    """A folder with a final training of two seeds, its model registered, and what the command printed."""
    place = tmp_path_factory.mktemp("training")
    (place / "g.yaml").write_text(yaml.safe_dump({"fixed": CONFIG}))
    settings = [part for setting in SMALL for part in ("--set", setting)]
    called = command("train", "g.yaml", "--seeds", 2, "--register", *settings)
    outputs = [run_command(called, cwd=place, env=environment(data_root)) for _ in range(2)]
    for found in outputs:
        assert found.returncode == 0, found.stdout + found.stderr
    return place, outputs


@pytest.fixture
def rows(glyphs):
    """A request: two classes with one and two examples, and three queries."""
    novel = glyphs.part("novel")
    first, second = (novel.examples[novel.rows_of_class(index)] for index in (0, 1))
    labelled = [
        ("theta", first[0]),
        ("zhe", second[0]),
        ("zhe", second[1]),
        ("", first[5]),
        ("", second[5]),
        ("", first[6]),
    ]
    return [{"picture": encoded(picture), "label": label or None} for label, picture in labelled]


def encoded(picture):
    from datg.inference.mlflow_model import request_rows

    return request_rows(picture[None], None)[0]["picture"]


def predict(place, model, request):
    (place / "request.json").write_text(json.dumps({"dataframe_records": request}))
    called = [str(Path(sys.executable).with_name("mlflow")), "models", "predict", "-m", model, "-i", "request.json"]
    variables = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db"}
    variables["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*called, "-t", "json", "--env-manager", "local"],
        cwd=place,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_mlflow_answers_as_the_model_does(training, rows, data_root):
    place, (first, again) = training
    assert "model in MLflow: models:/datg-glyphs@best" in first.stderr and first.stderr.count("models:/") == 1
    assert "fitting temperatures" not in again.stderr
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")
    assert len(client.search_model_versions("name='datg-glyphs'")) == 1, (
        "the same command logs and registers nothing anew"
    )
    (logged,) = client.search_logged_models([client.get_experiment_by_name("datg/glyphs").experiment_id])
    assert client.get_run(logged.source_run_id).info.status == "FINISHED"
    found = predict(place, "models:/datg-glyphs@best", rows)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)["predictions"]
    (folder,) = place.glob("runs/*-final")
    model = datg.load_model(folder, data_root=data_root, device="cpu")
    assert len(model.networks) == 2
    expected = answer(
        read_package(next(place.glob("mlartifacts/**/artifacts/model")), model.device), pd.DataFrame(rows)
    )
    assert [row["label"] for row in told] == [row["label"] for row in expected] and len(told) == 3
    for ours, theirs in zip(told, expected, strict=True):
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)
    names = {path.name for path in place.glob("mlartifacts/**/models/**/*") if path.is_file()}
    assert {"MLmodel", "requirements.txt", "input_example.json", "network-1.safetensors"} <= names
    required = next(place.glob("mlartifacts/**/models/**/requirements.txt")).read_text()
    assert "torch==" in required and "+" not in required, "no package index has local versions"
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin"))]


@pytest.mark.slow
def test_a_saved_support_set_answers_queries_alone(training, rows, data_root, glyphs):
    place, _ = training
    novel = glyphs.part("novel")
    for index, name in enumerate(("theta", "zhe")):
        for part, places in (("support", range(2)), ("queries", range(2, 4))):
            (place / part / name).mkdir(parents=True)
            for number in places:
                picture = novel.examples[novel.rows_of_class(index)[number]]
                Image.fromarray(picture.transpose(1, 2, 0)).save(place / part / name / f"{number}.png")
    called = command("apply", "models:/datg-glyphs@best", "support", "queries", "--save-model", "frozen", "--json")
    found = run_command(called, cwd=place, env=environment(data_root))
    assert found.returncode == 0, found.stdout + found.stderr
    assert json.loads(found.stdout)["seeds"] == 2
    queries = sorted((place / "queries").glob("*/*.png"))
    request = [{"picture": base64.b64encode(path.read_bytes()).decode()} for path in queries]
    model = read_package(
        place / "frozen" / "artifacts" / "model", datg.load_model(place / "frozen", device="cpu").device
    )
    told = answer(model, pd.DataFrame(request))
    lines = (place / "predictions.csv").read_text().splitlines()[1:]
    assert [row["probability"] for row in told] == pytest.approx(
        [float(line.split(",")[3]) for line in lines], abs=1e-5
    )
    again = run_command(called, cwd=place, env=environment(data_root))
    assert again.returncode == 2 and "holds something already" in again.stderr
    bad = predict(place, str(place / "frozen"), [*request[:1], {"picture": "/etc/passwd"}])
    assert bad.returncode != 0 and "must be the bytes of a picture's file in base64, not a path" in bad.stderr


@pytest.fixture
def packaged(tmp_path, network):
    write_package(tmp_path / "model", [network("protonet")], [], None)
    return read_package(tmp_path / "model", torch_cpu())


def torch_cpu():
    import torch

    return torch.device("cpu")


def test_pictures_come_as_bytes_or_arrays(packaged, rows):
    expected = answer(packaged, pd.DataFrame(rows))
    with_arrays = [{"label": row["label"], "array": pixels(row["picture"]).tolist()} for row in rows]
    assert answer(packaged, pd.DataFrame(with_arrays)) == expected
    nested = [{**row, "array": np.array([np.array(line) for line in row["array"]])} for row in with_arrays]
    assert answer(packaged, pd.DataFrame(nested)) == expected
    assert {row["label"] for row in expected} <= {"theta", "zhe"} and list(expected[0]["probabilities"]) == [
        "theta",
        "zhe",
    ]


def pixels(text):
    import io

    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        return np.asarray(picture)


def test_what_a_request_lacks_is_told_by_row(packaged, rows):
    def refused(changed, said, kind=DataError):
        with pytest.raises(kind, match=said):
            answer(packaged, pd.DataFrame(changed))

    refused(rows[3:], "the request has no support set")
    refused(rows[:3], "the request has no query")
    refused([*rows[:2], {"picture": "support/theta/0.png", "label": None}], "row 3 .* in base64, not a path")
    refused(
        [*rows[:2], {"picture": base64.b64encode(b"no picture").decode()}], "row 3 .* cannot be used: not a picture"
    )
    refused([*rows[:2], {"label": None}], "row 3 .* must have one of picture, array, got none")
    refused([*rows[:2], {"array": [[[1.5, 0, 0]]]}], "row 3 .* whole numbers from 0 to 255")
    refused([*rows[:2], {"array": [[1, 2], [3]]}], "row 3 of the request must hold an array of numbers")
    refused([rows[0], rows[3]], "must have at least two classes, got theta")


def test_cells_come_as_numbers(tmp_path):
    config = TrialConfig.from_dict(
        {"dataset": "cells", "backbone": {"name": "fc2", "width": 8}, "strategy": {"name": "vanilla"}}
    )
    best = BestWeights(build_learner(config, (7,)), config, {"shape": [7], "config": config.to_dict()})
    write_package(tmp_path, [best], [], {"a": np.zeros((1, 7), np.float32), "b": np.ones((3, 7), np.float32)})
    model = read_package(tmp_path, torch_cpu())
    queries = [{"values": [0.01 * index for index in range(7)]}, {"values": [1.0] * 7}]
    assert [row["label"] for row in answer(model, pd.DataFrame(queries))] == ["a", "b"], (
        "by the support set saved with it"
    )
    own = [{"values": [1.0] * 7, "label": "one"}, {"values": [0.0] * 7, "label": "none"}, *queries]
    assert [row["label"] for row in answer(model, pd.DataFrame(own))] == ["none", "one"], "by that of the request"
    with pytest.raises(DataError, match=r"row 1 of the request must be numbers of the shape \(n, 7\)"):
        answer(model, pd.DataFrame([{"values": [1.0, 2.0]}]))


def test_a_model_of_another_version_is_refused(tmp_path, network):
    best = network("protonet")
    info = {**best.info, "config": {**best.info["config"], "learner": {"name": "matching"}}}
    write_package(tmp_path, [type(best)(best.learner, best.config, info)], [], None)
    with pytest.raises(ConfigError, match="does not hold best weights of the architecture"):
        datg.load_model(tmp_path, device="cpu")


def test_what_answers_a_request_imports_no_more_than_the_model_requires(tmp_path, network):
    """In a process without Ray, Optuna, plotly and matplotlib, as in an environment made of the model's requirements."""
    write_package(tmp_path, [network("protonet")], [], None)
    script = f"""
import sys
for name in ("ray", "optuna", "plotly", "matplotlib", "typer", "rich", "jinja2", "scanpy", "anndata"):
    sys.modules[name] = None
import torch
from pathlib import Path
from datg.inference.package import read_package
from datg.inference.requests import answer
from datg.trial.config import TrialConfig
from datg.trial.model import BestWeights, build_learner
print(len(read_package(Path({str(tmp_path)!r}), torch.device("cpu")).learners))
"""
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip() == "1", found.stderr
    assert isinstance(datg.load_model(tmp_path, device="cpu"), FewShotModel)
