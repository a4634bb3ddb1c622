from pathlib import Path

import pytest
import torch

from benchmarks import growth
from benchmarks.growth import Point, least_megabytes, measure, plot, slope

LINE = [Point("tasks", n, 1e9 * n, 3.0 * n, 10 * n**2) for n in (1, 2, 4)]
OTHER = [Point("side", n, 1e9 * n, 3.0 * n**0.5, 10) for n in (1, 4)]


def test_the_slope_is_the_power_of_the_work():
    assert slope(LINE, "milliseconds") == {"all": 1.0, "tasks": 1.0}
    assert slope(LINE, "megabytes") == {"all": 2.0, "tasks": 2.0}
    assert slope(LINE + OTHER, "milliseconds")["side"] == 0.5


def test_points_are_drawn(tmp_path):
    slopes = {cost: slope(LINE + OTHER, cost) for cost in ("milliseconds", "megabytes")}
    step = {"strategy": "vanilla", "learner": "protonet", "precision": "bf16", **growth.USUAL}
    plot(LINE + OTHER, slopes, step, 58, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("precision", "bytes_each"), [("float32", 4), ("bf16", 2)])
def test_a_gradient_needs_what_every_convolution_reads_and_writes(precision, bytes_each):
    kept = []

    def keep(module, inputs, output):
        kept.extend([inputs[0].numel(), output.numel()])

    layers = []
    for channels in (3, 8, 8, 8):
        layers += [torch.nn.Conv2d(channels, 8, 3, padding=1), torch.nn.MaxPool2d(2)]
        layers[-2].register_forward_hook(keep)
    torch.nn.Sequential(*layers)(torch.zeros(2, 3, 42, 42))
    step = {"precision": precision, "side": 42, "filters": 8, "tasks": 1, "ways": 2, "shots": 1}
    expected = sum(kept) / 2 * 2 * (1 + growth.QUERIES) * bytes_each / 2**20  # two pictures were looked at
    assert least_megabytes(step) == pytest.approx(expected)


@pytest.mark.slow
def test_more_tasks_are_more_work(tmp_path, monkeypatch):
    monkeypatch.setitem(growth.USUAL, "side", 16)
    monkeypatch.setitem(growth.USUAL, "filters", 4)
    few, many = (measure(Path(tmp_path), "tasks", tasks, "protonet", "vanilla", 1, 1) for tasks in (1, 4))
    assert many.multiply_adds == pytest.approx(4 * few.multiply_adds)
    assert few.milliseconds > 0 and many.megabytes >= 0
