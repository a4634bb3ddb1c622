"""The notebook and the script of `examples/`, as a reader runs them."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.faults.searches import NOT_NICE

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = EXAMPLES / "quickstart.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter
def test_the_quickstart_notebook_runs_from_end_to_end(tmp_path, monkeypatch):
    for name, value in NOT_NICE.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "novel classes: 0." in shown and "calibration error" in shown
    assert "strategy.alpha" in shown and (tmp_path / "runs" / "quickstart" / "best.safetensors").exists()


@pytest.mark.slow
def test_a_search_from_python_prints_its_table(tmp_path, data_root):
    environment = {**os.environ, **NOT_NICE, "DATG_DATA": str(data_root)}
    call = [sys.executable, str(EXAMPLES / "search_from_python.py")]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "strategy.mmd_weight" in done.stdout and "best by validation: Datg(" in done.stdout
