from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.growth import Point, measure, plot, slope

LINE = [Point("tasks", n, 1e9 * n, 3.0 * n, 10 * n**2) for n in (1, 2, 4)]
OTHER = [Point("side", n, 1e9 * n, 3.0 * n**0.5, 10) for n in (1, 4)]


def test_the_slope_is_the_power_of_the_work():
    assert slope(LINE, "milliseconds") == {"all": 1.0, "tasks": 1.0}
    assert slope(LINE, "megabytes") == {"all": 2.0, "tasks": 2.0}
    assert slope(LINE + OTHER, "milliseconds")["side"] == 0.5


def test_points_are_drawn(tmp_path):
    slopes = {cost: slope(LINE + OTHER, cost) for cost in ("milliseconds", "megabytes")}
    plot(LINE + OTHER, slopes, "a step", tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_more_tasks_are_more_work(tmp_path, monkeypatch):
    monkeypatch.setitem(growth.USUAL, "side", 16)
    monkeypatch.setitem(growth.USUAL, "filters", 4)
    few, many = (measure(Path(tmp_path), "tasks", tasks, "protonet", "vanilla", 1, 1) for tasks in (1, 4))
    assert many.multiply_adds == pytest.approx(4 * few.multiply_adds)
    assert few.milliseconds > 0 and many.megabytes >= 0
