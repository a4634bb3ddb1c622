"""A new strategy is one file and one line: everything else knows it from there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOY = '''"""Toy: real tasks of one cluster, with the loss weighted."""

from dataclasses import dataclass
from typing import Any, ClassVar

from datg.learners.learner import Learner
from datg.strategies.strategy import Batch, Clustering, Losses, Strategy, Weight, query_losses


@dataclass(frozen=True, kw_only=True)
class Toy(Strategy):
    """Tasks of one cluster.

    Attributes:
        weight: of the loss.
    """

    name: ClassVar[str] = "toy"

    weight: Weight = 2.0

    refused_learners: ClassVar[dict[str, str]] = {"reptile": "a toy has no patience"}
    vanilla_settings: ClassVar[tuple[dict[str, Any], ...]] = ({"weight": 1.0},)

    def clustering(self, ways: int) -> Clustering:
        """Return two clusters of raw features."""
        return Clustering(number=2, features="raw", checkpoint=None, file=None, smallest=ways)

    def ranges(self) -> dict[str, dict[str, list[Any]]]:
        """Return the weight."""
        return {"strategy.weight": {"log": [0.1, 10]}}

    def losses(self, learner: Learner, batch: Batch) -> Losses:
        """Return the weighted cross-entropy of B tasks of the first cluster."""
        assert batch.clusters is not None
        tasks = batch.sampler.draw(batch.size, generator=batch.streams.tasks, within=batch.clusters[0])
        encoded = learner.encode(batch.sampler.classes.gather_tasks(tasks.rows), batch.shots, 0, learner.last_shared)
        loss = query_losses(learner.classify(encoded, batch.shots)).mean()
        return Losses(total=self.weight * loss, cross_entropy=loss)
'''
LINE = '        "toy": "datg.strategies.toy:Toy",\n'


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project with one more strategy."""
    place = tmp_path_factory.mktemp("copy")
    for name in ("datg", "tests", "launchers", "search_spaces", "benchmarks"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    (place / "datg" / "strategies" / "toy.py").write_text(TOY)
    table = place / "datg" / "strategies" / "__init__.py"
    table.write_text(table.read_text().replace('        "vanilla": ', LINE + '        "vanilla": '))
    assert LINE in table.read_text()
    return place


def run(copy, *command, cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    found = subprocess.run(command, cwd=cwd or copy, env=environment, capture_output=True, text=True, timeout=280)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout


@pytest.mark.slow
def test_the_contract_finds_a_new_strategy_and_it_holds(copy):
    tests = ["tests/strategies/test_contract.py", "tests/trial/test_config.py", "tests/search/test_space.py"]
    said = run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy", *tests)
    assert "passed" in said and "failed" not in said


@pytest.mark.slow
def test_a_search_of_a_new_strategy_runs(copy, data_root, tmp_path):
    assert "toy, vanilla" in " ".join(run(copy, sys.executable, "launchers/search.py", "--help").split())
    small = ["--set", "training.iterations=4", "--set", "training.eval_every=2", "--set", "backbone.filters=4"]
    small += ["--set", "evaluation.validation_tasks=20", "--final-episodes", "20", "--trials", "1", "--json"]
    options = ["--dataset", "glyphs", "--strategy", "toy", "--no-references", "--data-root", str(data_root), *small]
    found = json.loads(run(copy, sys.executable, str(copy / "launchers" / "search.py"), *options, cwd=tmp_path))
    assert found["exit"] == 0 and found["trials"][0]["strategy.weight"] == 2.0
