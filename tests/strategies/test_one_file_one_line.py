"""A new strategy, learner, backbone, raw form or protocol is one file and one line: everything else knows it from there.

What is added are the examples that the documentation shows.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
# By example: the folder that it belongs in, and its line in the table there.
EXAMPLES = {
    "one_cluster": ("strategies", '        "one_cluster": "datg.strategies.one_cluster:OneCluster",\n'),
    "cosine": ("learners", '        "cosine": "datg.learners.cosine:CosineNet",\n'),
    "conv3": ("backbones", '        "conv3": "datg.backbones.conv3:Conv3",\n'),
    "json_lists": ("data/importing/formats", '        "json-lists": "datg.data.importing.formats.json_lists",\n'),
    "by_frequency": ("data/protocols", '        "by-frequency": "datg.data.protocols.by_frequency:BY_FREQUENCY",\n'),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project with the examples in their places."""
    place = tmp_path_factory.mktemp("copy")
    for name in ("datg", "tests", "launchers", "search_spaces", "benchmarks"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    for example, (folder, line) in EXAMPLES.items():
        shutil.copy(ROOT / "examples" / "extend" / f"{example}.py", place / "datg" / folder)
        table = place / "datg" / folder / "__init__.py"
        before, begin, after = table.read_text().partition("NameTable(\n    {\n")
        assert begin, "the table is where it was"
        table.write_text(before + begin + line + after)
    return place


def run(copy, *command, cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    found = subprocess.run(command, cwd=cwd or copy, env=environment, capture_output=True, text=True, timeout=280)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout


def test_the_lines_are_those_that_the_documentation_shows():
    pages = "".join((ROOT / "docs" / "extend" / name).read_text() for name in ("index.md", "strategy.md"))
    for example, (_, line) in EXAMPLES.items():
        assert f'--8<-- "examples/extend/{example}.py"' in pages and line.strip() in pages


@pytest.mark.slow
def test_the_contracts_find_what_was_added_and_it_holds(copy):
    tests = ["tests/strategies/test_contract.py", "tests/trial/test_config.py", "tests/search/test_space.py"]
    tests += ["tests/backbones/test_contract.py"]
    for name in ("one_cluster", "conv3"):
        said = run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", name, *tests)
        assert "passed" in said and "failed" not in said


@pytest.mark.slow
def test_a_search_of_what_was_added_runs(copy, tmp_path):
    rng, lists = np.random.default_rng(0), {}
    for label in range(15):
        lists[f"class {label}"] = [f"{label}-{number}.png" for number in range(22 - label // 8)]
        for name in lists[f"class {label}"]:
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    launchers, places = copy / "launchers", ["--data-root", str(tmp_path / "data")]
    how = ["--protocol", "by-frequency", "--image-size", "16", "--ways", "3", *places]
    run(
        copy,
        sys.executable,
        str(launchers / "import_data.py"),
        "noise",
        str(tmp_path / "lists.json"),
        *how,
        cwd=tmp_path,
    )

    assert "one_cluster, vanilla" in " ".join(run(copy, sys.executable, "launchers/search.py", "--help").split())
    small = ["--set", "training.iterations=4", "--set", "training.eval_every=2", "--set", "backbone.name=conv3"]
    small += ["--set", "backbone.filters=4", "--set", "evaluation.validation_tasks=20", "--set", "task.ways=3"]
    small += ["--set", "task.queries=5", "--final-episodes", "20", "--trials", "1", "--json", "--no-references"]
    asked = ["--dataset", "noise", "--strategy", "one_cluster", "--learner", "cosine", *places, *small]
    found = json.loads(run(copy, sys.executable, str(launchers / "search.py"), *asked, cwd=tmp_path))
    assert found["exit"] == 0 and found["trials"][0]["strategy.weight"] == 2.0
