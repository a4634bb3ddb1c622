import json
import subprocess
import sys

import pytest

from benchmarks.run import FLOORS, Figure, _check, compared
from datg.errors import ConfigError


def test_a_figure_is_the_median_of_ratios_of_rounds_that_were_run_together():
    figure = compared("x", own=[0.1, 0.4, 0.1], theirs=[0.2, 0.8, 1.0])
    assert (figure.ratio, figure.low, figure.high) == (2.0, 2.0, 10.0)
    assert (figure.milliseconds, figure.textbook_milliseconds) == (100.0, 800.0)


def test_a_ratio_below_its_floor_is_named():
    name, floor = next(iter(FLOORS.items()))
    _check([Figure(name, floor, 0, 0, 1.0)])
    with pytest.raises(ConfigError, match=f"{name}: {floor / 2} < {floor}"):
        _check([Figure(name, floor / 2, 0, 0, 1.0)])


@pytest.mark.slow
def test_no_ratio_is_below_its_floor(tmp_path):
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--check", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    names = {figure["name"] for figure in found["figures"]}
    assert {name for name in FLOORS if "bf16" not in name} <= names
    assert all(share < 0.05 for share in found["share of a step that drawing and gathering takes"].values())
    assert (tmp_path / "results.png").read_bytes()[:4] == b"\x89PNG"
