"""The notebook, as a reader runs it."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.faults.searches import NOT_NICE

NOTEBOOK = Path(__file__).parent.parent / "examples" / "quickstart.ipynb"


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
