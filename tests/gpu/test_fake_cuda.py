"""The GPU's path on tensors that have a device and no values: no two devices are mixed, and nothing waits for a value."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.cpp_extension import include_paths

from tests.strategies.test_contract import TRIPLES

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in for a GPU is compiled by g++")


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The stand-in, built once."""
    path = tmp_path_factory.mktemp("fake_cuda") / "fake_cuda.so"
    torch_libraries = Path(torch.__file__).parent / "lib"
    subprocess.run(
        [
            "g++", "-shared", "-fPIC", "-std=c++20", "-O0",
            *(f"-I{folder}" for folder in include_paths()),
            str(Path(__file__).with_name("fake_cuda.cpp")),
            f"-L{torch_libraries}", "-lc10", "-ltorch_cpu", "-ltorch", f"-Wl,-rpath,{torch_libraries}",
            "-o", str(path),
        ],
        check=True,
    )  # fmt: skip
    return path


@functools.cache
def errors_of(library, *chosen):
    """What went wrong, by case, in a process whose torch has the stand-in."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.fake_cuda", str(library), *chosen],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_learners_run_on_a_gpu(library):
    found = errors_of(library, "bf16", "vanilla")
    assert len(found) >= 10
    assert [case for case in found if case["error"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_every_strategy_and_learner_runs_on_a_gpu(library, precision):
    found = errors_of(library, precision)
    trained = [tuple(case["case"][1:]) for case in found if case["case"][0] == "training"]
    assert trained == [(*triple, precision) for triple in TRIPLES]
    assert {case["case"][2] for case in found if case["case"][0] == "evaluation"} == {
        "protonet",
        "maml",
        "anil",
        "reptile",
    }
    assert [case for case in found if case["error"]] == []


def test_what_a_gpu_would_not_do_is_found(library):
    found = errors_of(library, "--faults")
    assert {case["case"][1] for case in found} == {"waiting", "two devices", "a shape of data"}
    assert all(case["error"] for case in found), "the stand-in sees nothing"
