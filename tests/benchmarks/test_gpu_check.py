"""The check of a GPU, on the CPU: its parts measure, what fails or hangs is said, and without a GPU it ends with a sentence."""

import contextlib
import json
import multiprocessing
import os
import queue
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import NAME, PARTS, TINY, WAYS, Bench, Report, main, measure
from benchmarks.random_pictures import write_pictures
from datg.data.catalog import open_dataset
from datg.trial.config import TrialConfig

TWO = replace(TINY, compared=1, trials=(1,))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root / NAME, TWO.examples, side=TWO.side)
    return Bench(torch.device("cpu"), root, open_dataset(NAME, root), TWO)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_ends_with_a_sentence(capsys):
    assert main([]) == 2
    assert "sees no GPU here" in capsys.readouterr().out


def test_the_cpu_agrees_with_itself(bench, monkeypatch):
    monkeypatch.setattr(gpu_check, "STRATEGIES", {"datg": gpu_check.STRATEGIES["datg"]})
    monkeypatch.setattr(gpu_check, "LEARNERS", ["protonet", "maml"])
    rows = list(PARTS["losses"][0](bench))
    assert [(row["strategy"], row["learner"]) for row in rows] == [("datg", "protonet"), ("datg", "maml")]
    for row in rows:
        assert row["float32 loss off by"] == 0 and row["gradient"] < 1e-6
        assert 0 <= row["bf16 loss off by"] < 0.05


@pytest.mark.parametrize(
    ("part", "figure"),
    [
        ("length", "s"),
        pytest.param("speed", "ms an iteration", marks=pytest.mark.slow),
        pytest.param("evaluation", "s", marks=pytest.mark.slow),
    ],
)
def test_parts_measure_both_learners(bench, part, figure):
    rows = list(PARTS[part][0](bench))
    assert {"protonet", "maml"} <= {row["learner"] for row in rows}
    assert all(row[figure] > 0 for row in rows)


@pytest.mark.parametrize(
    ("how", "graphs", "compiled"), [("by kernels", False, False), ("graphs, compiled", True, True)]
)
def test_ways_are_what_they_are_called(how, graphs, compiled):
    training = TrialConfig.from_dict({"dataset": NAME, "strategy": {"name": "datg"}, "training": WAYS[how]}).training
    assert (training.cuda_graphs, training.compile) == (graphs, compiled)


@pytest.mark.slow
def test_it_runs_whole_and_writes_what_it_measured(tmp_path):
    assert main(["--device", "cpu", "--tiny", "--output", str(tmp_path), "--parts", "machine", "sharing"]) == 0
    written = json.loads((tmp_path / "cpu.json").read_text())
    assert [row["trials at once"] for row in written["sharing"]] == [1, 2]
    assert written["machine"][0]["device"] == "cpu"


def test_what_fails_is_said_and_the_next_part_measured(bench, tmp_path, capsys):
    report = Report(tmp_path / "gpu.json")
    assert not measure(replace(bench, root=tmp_path / "nowhere"), 1.0, ["machine"], report)
    assert "failed" in json.loads((tmp_path / "gpu.json").read_text())["machine"][0]


def test_what_hangs_is_killed(bench, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "GRACE", 0.0)
    assert not measure(bench, 0.0001, ["machine"], Report(None))
    assert "it hangs" in capsys.readouterr().out


def die(bench):
    yield {"here": 1}
    os._exit(7)


def fail_without_a_word(bench):
    raise queue.Empty
    yield


@pytest.mark.parametrize(
    ("part", "told"), [(die, "its process ended with 7"), (fail_without_a_word, "Empty: without a message")]
)
def test_a_part_that_dies_or_fails_says_so_at_once(bench, monkeypatch, part, told):
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(gpu_check.multiprocessing, "get_context", lambda kind: fork)
    monkeypatch.setitem(PARTS, "machine", (part, 0.05))
    report, began = Report(None), time.monotonic()
    assert not measure(bench, 1.0, ["machine"], report)
    assert report.parts["machine"][-1] == {"failed": told} and time.monotonic() - began < 20


def test_parts_that_are_not_asked_for_stay_in_the_file(tmp_path):
    (tmp_path / "gpu.json").write_text(json.dumps({"speed": [{"old": 1}], "machine": [{"old": 2}]}))
    report = Report(tmp_path / "gpu.json")
    report.keep_but(["machine"])
    report.add("machine", {"new": 3})
    assert json.loads((tmp_path / "gpu.json").read_text()) == {"speed": [{"old": 1}], "machine": [{"new": 3}]}


@pytest.mark.slow
def test_what_hangs_is_killed_with_what_it_started(bench, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "GRACE", 15.0)
    monkeypatch.setenv("PART_OF_THIS_TEST", str(bench.root))
    many = replace(bench, effort=replace(TWO, seconds=1000.0))  # a trial that goes on for a quarter of an hour
    assert not measure(many, 0.0001, ["sharing"], Report(None))
    assert "it hangs" in capsys.readouterr().out
    time.sleep(0.5)
    assert _processes_with(f"PART_OF_THIS_TEST={bench.root}") == []


def _processes_with(variable):
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found
