"""The commands as a user types them, in processes of their own."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from datg.search.folder import SearchFolder
from tests.faults.searches import study_of

ROOT = Path(__file__).parent.parent.parent
LAUNCHERS = sorted(path.stem for path in (ROOT / "launchers").glob("*.py"))
MAML = ["--learner", "maml"]
SMALL = ["--set", "training.iterations=20", "--set", "training.eval_every=5", "--set", "backbone.filters=4"]
SMALL += ["--set", "evaluation.validation_tasks=50", "--final-episodes", "100"]


def environment(data_root):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DATG_", "MLFLOW_", "RAY_"))}
    return {**clean, "DATG_DATA": str(data_root)}


def command(launcher, *arguments):
    return [sys.executable, str(ROOT / "launchers" / f"{launcher}.py"), *map(str, arguments)]


def run(launcher, *arguments, cwd, data_root, code=0):
    found = subprocess.run(
        command(launcher, *arguments), cwd=cwd, env=environment(data_root), capture_output=True, text=True, timeout=300
    )
    assert found.returncode == code, found.stdout + found.stderr
    return found


def mlflow_runs(cwd):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{cwd}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client, client.search_runs(experiments)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_help_answers_at_once(launcher, tmp_path, data_root):
    seconds = []
    for _ in range(10):  # other processes may be in the way
        if seconds and min(seconds) < 0.6:
            break
        began = time.perf_counter()
        found = run(launcher, "--help", cwd=tmp_path, data_root=data_root)
        seconds.append(time.perf_counter() - began)
    assert "Usage:" in found.stdout
    assert min(seconds) < 0.6


MISTAKES = [
    ("search", ["--dataset", "gylphs"], "data set `gylphs` is not in"),
    ("search", ["--dataset", "glyphs", "--trials", "0"], "--trials"),
    ("search", ["--dataset", "glyphs", "--cpus-per-trial", "1000"], "but no node has both"),
    ("search", ["--dataset", "glyphs", "--output", "/proc/nowhere"], "cannot be written"),
    ("search", ["--resume", "nothing"], "is no search in"),
    (
        "search",
        ["--dataset", "glyphs", "--strategy", "metamax"],
        "is not a known strategy; did you mean `metamix`?",
    ),
    ("search", ["--dataset", "glyphs", "--strategy", "taml"], "and protonet has none"),
    (
        "search",
        ["--dataset", "glyphs", "--strategy", "taml", *MAML, "--set", "strategy.wieght=1"],
        "`strategy.weight`?",
    ),
    (
        "search",
        [
            "--dataset",
            "glyphs",
            "--strategy",
            "taml",
            *MAML,
            "--set",
            "strategy.variant=gini",
            "--set",
            "training.batch=1",
        ],
        "`training.batch` must be at least 2",
    ),
    (
        "search",
        ["--dataset", "glyphs", "--strategy", "meta_dropout", *MAML, "--set", "learner.first_order=true"],
        "`learner.first_order` must be false",
    ),
    (
        "search",
        ["--dataset", "glyphs", "--strategy", "meta_maxup", "--set", "strategy.pool=[qcn]"],
        "did you mean `qcm`?",
    ),
    ("compare", ["--dataset", "glyphs", "--strategies", "vanila"], "did you mean `vanilla`?"),
    ("compare", ["--strategies", "vanilla"], "--dataset is missing"),
    ("compare", ["--resume", "nothing"], "is no search in"),
    ("export", ["nothing"], "is no search in"),
    ("train", ["nothing.yaml"], "does not exist"),
    ("evaluate", ["."], "holds no best.safetensors"),
    ("import_data", ["skin", "nothing"], "does not exist"),
    ("import_data", ["skin", ".", "--form", "folders"], "is not a known form; did you mean `folder`?"),
    ("import_data", ["skin", ".", "--split", "holdout"], "is not a known protocol; did you mean `hold-out`?"),
    ("import_data", ["skin", ".", "--ratio", "2"], "import: `ratio` must"),
    ("import_data", ["skin", ".", "--duplicates", "both"], "import: `duplicates` must"),
    ("search", ["--dataset", "glyphs", "--test-dataset", "glyph"], "data set `glyph` is not in"),
]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory, data_root):
    """Every mistake made, two at once: most of the time goes into imports. Gives what came out, and what was left, by place."""

    def make(number):
        launcher, arguments, _ = MISTAKES[number]
        folder = tmp_path_factory.mktemp("mistake")
        found = run(launcher, *arguments, cwd=folder, data_root=data_root, code=2)
        return found, list(folder.rglob("*"))

    data = sorted(data_root.iterdir())
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(make, range(len(MISTAKES))))
    assert sorted(data_root.iterdir()) == data
    return results


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda number: " ".join(MISTAKES[number][1])[:60])
def test_a_mistake_gets_one_sentence_and_leaves_nothing(number, mistakes):
    found, left = mistakes[number]
    assert MISTAKES[number][2] in found.stderr and "Traceback" not in found.stderr
    assert left == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("OSError(28, 'No space left on device', 'x.db')", 2, "error: x.db: No space left on device; free space"),
        ("PermissionError(13, 'Permission denied', 'x.db')", 2, "error: x.db: Permission denied"),
        ("ConnectionResetError(104, 'reset')", 1, "Traceback"),
        ("KeyError('a bug')", 1, "Traceback"),
        ("KeyboardInterrupt()", 130, ""),
    ],
)
def test_files_in_trouble_get_a_sentence_and_bugs_a_traceback(error, code, message):
    text = f"from datg.command_line import run_command\ndef act() -> None:\n    raise {error}\nrun_command(act)"
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert found.returncode == code and message in found.stderr
    assert ("Traceback" in found.stderr) == (code == 1)


def test_verbose_shows_the_traceback_and_keeps_the_exit_code(tmp_path, data_root):
    found = run("export", "nothing", "-v", cwd=tmp_path, data_root=data_root, code=2)
    assert "Traceback" in found.stderr and "error: `nothing` is no search" in found.stderr


def test_a_dry_run_prints_every_value_and_where_it_came_from(tmp_path, data_root):
    arguments = ["--dataset", "glyphs", "--shots", 5, "--set", "training.preset=paper", "--dry-run"]
    lines = run("search", *arguments, cwd=tmp_path, data_root=data_root).stdout.splitlines()
    sources = {line.split()[0]: line.split()[1] + " " + line.split(maxsplit=2)[2].strip() for line in lines}
    assert sources["task.shots"] == "5 flag"
    assert sources["training.lr"] == "0.05 preset paper"
    assert sources["backbone.filters"] == "16 YAML"
    assert sources["search.seed"] == "0 default"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")
def test_search_export_train_and_evaluate(tmp_path, data_root):
    arguments = ["--dataset", "glyphs", "--trials", 4, "--json", *SMALL]
    found = json.loads(run("search", *arguments, cwd=tmp_path, data_root=data_root).stdout)
    folder = tmp_path / "runs" / found["search"]
    assert len(found["trials"]) == 4
    assert all(trial["episodes"] == 100 for trial in found["trials"])
    scores = [trial["validation"] for trial in found["trials"]]
    assert scores == sorted(scores, reverse=True)
    states = [trial.state.name for trial in study_of(SearchFolder(folder)).trials]
    assert len(states) == 4 and set(states) <= {"COMPLETE", "PRUNED"}

    client, runs = mlflow_runs(tmp_path)
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId")]
    assert len(runs) == 5 and len(children) == 4
    assert not any("error" in child.data.tags for child in children)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for child in children:
        assert child.data.metrics["test/episodes"] == 100
        trial = int(child.data.tags["trial"])
        points = client.get_metric_history(child.info.run_id, "objective")
        lines = (folder / "trials" / str(trial) / "progress.jsonl").read_text().splitlines()
        assert [point.step for point in points] == [json.loads(line)["iteration"] for line in lines]

    run("export", found["search"], "--top", 1, cwd=tmp_path, data_root=data_root)
    path = tmp_path / "configs" / f"{found['search']}-top1.yaml"
    exported = yaml.safe_load(path.read_text())
    best = max((t for t in study_of(SearchFolder(folder)).trials if t.state.name == "COMPLETE"), key=lambda t: t.value)
    assert exported["provenance"]["trial"] == best.number
    assert exported["provenance"]["mlflow run"] in {child.info.run_id for child in children}
    assert exported["config"]["strategy"]["alpha"] == best.params["strategy.alpha"]

    trained = json.loads(run("train", path, "--seeds", 2, "--json", cwd=tmp_path, data_root=data_root).stdout)
    assert trained["summary"]["seeds"] == 2 and len(trained["seeds"]) == 2
    _, runs = mlflow_runs(tmp_path)
    assert len(runs) == 5 + 3
    again = json.loads(run("train", path, "--seeds", 2, "--json", cwd=tmp_path, data_root=data_root).stdout)
    assert again == trained, "what is done is not done again"

    for place in (f"runs/{found['search']}", f"runs/{trained['training']}/seed-1"):
        arguments = [place, "--episodes", 50, "--shots", 5, "--json"]
        evaluated = json.loads(run("evaluate", *arguments, cwd=tmp_path, data_root=data_root).stdout)
        assert evaluated["episodes"] == 50 and evaluated["shots"] == 5

    path.write_text(path.read_text().replace("clusters: ", "clusters: -"))
    broken = run("train", path, cwd=tmp_path, data_root=data_root, code=2)
    assert "`strategy.clusters` must be greater than or equal to 2" in broken.stderr


def test_compare_all_strategies_and_go_on(tmp_path, data_root):
    learners = ["--learner", "protonet,maml", "--set", "learner.inner_steps=1", "--set", "learner.inner_steps_test=1"]
    short = ["--set", "training.iterations=4", "--set", "training.eval_every=2", "--set", "backbone.filters=6"]
    short += ["--set", "evaluation.validation_tasks=20", "--final-episodes", "30", "--set", "strategy.samples_test=1"]
    arguments = ["--dataset", "glyphs", "--seeds", "1", *learners, *short]
    stopped = run("compare", *arguments, "--time-budget", "1", cwd=tmp_path, data_root=data_root, code=75)
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"python launchers/compare.py --resume {folder.name}" in stopped.stderr
    assert "taml is left out with protonet" in stopped.stderr
    found = json.loads(run("compare", "--resume", folder.name, "--json", cwd=tmp_path, data_root=data_root).stdout)
    rows = found["trials"]
    assert len(rows) == 17 and all(row["seeds"] == 1 and row["accuracy"] > 0 for row in rows)
    assert all(row["minus_vanilla_ci95"] > 0 for row in rows if row["strategy"] != "vanilla")
    states = [trial.state.name for trial in study_of(SearchFolder(folder)).trials]
    assert states == ["COMPLETE"] * 17
    client, runs = mlflow_runs(tmp_path)
    children = [entry.data.tags for entry in runs if "mlflow.parentRunId" in entry.data.tags]
    assert {(tags["learner"], tags["strategy"]) for tags in children} == {(r["learner"], r["strategy"]) for r in rows}
    (parent,) = [entry for entry in runs if "mlflow.parentRunId" not in entry.data.tags]
    assert parent.data.tags["kind"] == "comparison" and parent.info.status == "FINISHED"
    assert {"comparison.md", "comparison.csv"} <= {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    more = run("search", "--resume", folder.name, cwd=tmp_path, data_root=data_root, code=2)
    assert f"is a comparison; go on with: python launchers/compare.py --resume {folder.name}" in more.stderr
    other = run("compare", "--resume", folder.name, "--seeds", "2", cwd=tmp_path, data_root=data_root, code=2)
    assert "the trials of a comparison stand in a grid" in other.stderr


def test_help_names_what_stands_in_the_tables():
    from datg.command_line import FORM_NAMES, LEARNER_NAMES, PROTOCOL_NAMES, STRATEGY_NAMES
    from datg.data.importers import IMPORTERS
    from datg.data.protocols import PROTOCOLS
    from datg.learners import LEARNERS
    from datg.strategies import STRATEGIES

    assert LEARNER_NAMES.split(", ") == list(LEARNERS) and STRATEGY_NAMES.split(", ") == list(STRATEGIES)
    assert FORM_NAMES.split(", ") == list(IMPORTERS) and PROTOCOL_NAMES.split(", ") == list(PROTOCOLS)


@pytest.mark.slow
def test_a_search_clusters_by_embeddings_of_a_network_trained_once(tmp_path, data_root):
    options = ["--trials", "2", "--set", "strategy.cluster_features=embedding", *SMALL]
    run("search", "--dataset", "glyphs", *options, cwd=tmp_path, data_root=data_root)
    (folder,) = (tmp_path / "runs").iterdir()
    network = folder / "embedding" / "best.safetensors"
    for number in (0, 1):
        values = yaml.safe_load((folder / "trials" / str(number) / "config.yaml").read_text())
        assert values["strategy"]["cluster_checkpoint"] == str(network) and network.exists()
        assert json.loads((folder / "trials" / str(number) / "clusters.json").read_text())["features"] == "embedding"
