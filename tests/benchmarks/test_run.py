import json
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.contestants import Machine, Player
from benchmarks.processor import kind
from benchmarks.run import DATG_BOTH, FLOORS, QUICK, Figure, check_floors, compared, strategies
from datg.errors import ConfigError
from datg.strategies import STRATEGIES


def test_a_figure_is_the_median_of_ratios_of_rounds_that_were_run_together():
    figure = compared("x", ours=[0.1, 0.4, 0.1], theirs=[0.2, 0.8, 1.0])
    assert (figure.ratio, figure.low, figure.high) == (2.0, 2.0, 10.0)
    assert (figure.milliseconds, figure.textbook_milliseconds) == (100.0, 800.0)


def test_a_ratio_below_its_floor_is_named():
    name, floor = next(iter(FLOORS.items()))
    check_floors([Figure(name, floor, 0, 0, 1.0)])
    with pytest.raises(ConfigError, match=f"{name}: {floor / 2} < {floor}"):
        check_floors([Figure(name, floor / 2, 0, 0, 1.0)])


class Here:
    """A contestant in this process."""

    def __init__(self, player):
        self.player = player

    def ask(self, method, *arguments):
        return getattr(self.player, method)(*arguments)


@pytest.mark.slow
def test_every_strategy_is_compared_with_vanilla(data_root, glyphs):
    ours = Here(Player(Machine(data_root, "glyphs", 1)))
    effort = replace(QUICK, rounds=1, warm_up=1, strategy_iterations=1)
    found = {figure.name: figure for figure in strategies(ours, effort)}
    names = {*STRATEGIES, DATG_BOTH}
    assert {name for name in found if " maml " in name} == {f"strategy maml {name} 1-shot" for name in names}
    assert found["strategy maml vanilla 1-shot"].ratio == 1.0
    assert found["strategy maml meta_maxup 1-shot"].ratio > 1.0
    assert not ours.player.trainings


@pytest.mark.slow
@pytest.mark.alone
def test_no_ratio_is_below_its_floor(tmp_path):
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--check", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / f"{kind()}.json").read_text())
    names = {figure["name"] for figure in found["figures"]}
    assert {name for name in FLOORS if "bf16" not in name} <= names
    assert all(share < 0.05 for share in found["share of a step that drawing and gathering takes"].values())
    assert (tmp_path / f"{kind()}.png").read_bytes()[:4] == b"\x89PNG"
