"""What runs without a cluster; who may import whom is a contract in pyproject.toml, held by `make check`."""

import subprocess
import sys

TRIAL_WITHOUT_A_CLUSTER = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "optuna", "mlflow", "sqlalchemy", "typer", "rich"}:
            raise ImportError(f"a trial imports {name}")  # what is optional to a library may be missing

sys.meta_path.insert(0, Refuse())
from tests.trial.test_run import config_of, dataset_of
from datg.trial.final_evaluation import evaluate_best
from datg.trial.run import TrialData, run_trial
from pathlib import Path
import tempfile
folder = Path(tempfile.mkdtemp())
result = run_trial(config_of(), TrialData.from_dataset(dataset_of()), report=lambda progress: None, folder=folder)
evaluate_best(folder / "best.safetensors", dataset_of().part("novel"))
assert result.last.iteration == 6
"""


def test_a_trial_needs_neither_ray_nor_optuna_nor_mlflow():
    subprocess.run([sys.executable, "-c", TRIAL_WITHOUT_A_CLUSTER], check=True)


def test_the_package_is_found_from_a_folder_that_holds_a_checkout_of_the_same_name(tmp_path):
    (tmp_path / "datg" / "datg").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", "import datg; datg.open_dataset"], cwd=tmp_path, check=True)
