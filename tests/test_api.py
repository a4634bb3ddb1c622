"""DATG from Python."""

import os
import subprocess
import sys

import pytest

import datg
from tests.faults.searches import NOT_NICE

SMALL = {
    "backbone": {"filters": 4},
    "training": {"iterations": 6, "eval_every": 3},
    "evaluation": {"validation_tasks": 20, "test_tasks": 30},
}


def test_importing_it_loads_nothing_heavy():
    heavy = "import datg, sys; assert not {'torch', 'ray', 'optuna', 'mlflow', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", heavy], check=True)
    wanted = {"open_dataset", "run_trial", "run_search", "open_search", "evaluate", "load_model", "TrialConfig"}
    assert wanted <= set(dir(datg))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        datg.nothing  # noqa: B018


def test_a_trial_is_run_and_evaluated(data_root, tmp_path):
    dataset = datg.open_dataset("glyphs", data_root)
    heard = []
    config = datg.TrialConfig.from_dict({"dataset": "glyphs", **SMALL})
    result = datg.run_trial(config, dataset, report=heard.append, folder=tmp_path)
    assert result.last.iteration == 6 and [report.iteration for report in heard] == [3, 6]
    found = datg.evaluate(tmp_path, data_root=data_root, episodes=40)
    assert found.accuracies.shape == (40,) and 0 < found.mean < 1


@pytest.mark.slow
def test_a_search_is_run(data_root, tmp_path):
    flat = {f"{section}.{key}": value for section, values in SMALL.items() for key, value in values.items()}
    script = f"""
import datg
settings, places = {{**{flat!r}, "search.trials": 2}}, dict(output={str(tmp_path)!r}, data_root={str(data_root)!r})
found = datg.run_search("glyphs", settings=settings, references=False, enqueue=[{{"strategy.alpha": 0.7}}], **places)
assert [record.number for record in found.records] == [0, 1] and not found.references
table = found.dataframe()
assert len(table) == 2 and table["validation"].is_monotonic_decreasing and 0.7 in set(table["strategy.alpha"])
assert found.best_config.strategy.alpha == table.loc[table["trial"] == found.best.number, "strategy.alpha"].item()
again = datg.open_search(found.folder.name, found.folder.parent)
assert again.records == found.records
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=280, env={**os.environ, **NOT_NICE})
