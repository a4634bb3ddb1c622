"""Who may import whom (design: imports go one way)."""

import subprocess
import sys

TRIAL_WITHOUT_A_CLUSTER = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "optuna", "mlflow", "sqlalchemy", "typer", "rich"}:
            raise ImportError(f"a trial imports {name}")  # what is optional to a library may be missing

sys.meta_path.insert(0, Refuse())
from tests.test_trial import config_of, dataset_of
from datg.final_evaluation import evaluate_best
from datg.trial import TrialData, run_trial
from pathlib import Path
import tempfile
folder = Path(tempfile.mkdtemp())
result = run_trial(config_of(), TrialData.of(dataset_of()), report=lambda progress: None, folder=folder)
evaluate_best(folder / "best.safetensors", dataset_of().part("novel"))
assert result.last.iteration == 6
"""

LAYERS = [
    [
        "datg.errors",
        "datg.config",
        "datg.seeding",
        "datg.files",
        "datg.memory",
        "datg.checkpoint",
        "datg.claim",
        "datg.stop",
        "datg.sizes",
        "datg.precision",
    ],
    ["datg.data", "datg.space_file"],
    ["datg.tasks", "datg.backbones"],
    ["datg.learners"],
    ["datg.generation"],
    ["datg.strategies"],
    ["datg.trial_config", "datg.training", "datg.evaluation", "datg.network", "datg.partition"],
    ["datg.trial", "datg.final_evaluation"],
    ["datg.records", "datg.final_training"],
    ["datg.tracking", "datg.display", "datg.command_line", "datg.inspection"],
    ["datg.search"],
    ["datg.conduct_training"],
]


def test_a_trial_needs_neither_ray_nor_optuna_nor_mlflow():
    subprocess.run([sys.executable, "-c", TRIAL_WITHOUT_A_CLUSTER], check=True)


def level_of(module):
    for level, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes):
            return level
    raise AssertionError(f"{module} stands in no layer")


def test_imports_go_one_way():
    import ast
    from pathlib import Path

    root = Path(__file__).parent.parent
    for path in sorted((root / "datg").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if module == "datg":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("datg."):
                assert level_of(node.module) <= level_of(module), f"{module} imports {node.module}"
