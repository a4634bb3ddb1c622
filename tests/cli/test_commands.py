"""The commands as a user types them, in processes of their own."""

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from datg.cli.main import COMMANDS
from datg.search.comparison.grid import Comparison
from datg.search.state.folder import SearchFolder
from datg.tracking.entities import rounded
from tests.cli.warm_start import run_command as run_warm
from tests.faults.searches import NOT_NICE, trials_of, until

ROOT = Path(__file__).parent.parent.parent
LAUNCHERS = sorted(path.stem for path in (ROOT / "launchers").glob("*.py"))
MAML = ["--learner", "maml"]
SMALL = ["--set", "training.iterations=20", "--set", "training.eval_every=5", "--set", "backbone.filters=4"]
SMALL += ["--set", "evaluation.validation_tasks=50", "--final-episodes", "100"]


def environment(data_root):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DATG_", "MLFLOW_", "RAY_"))}
    return {**clean, **NOT_NICE, "DATG_DATA": str(data_root)}


def command(launcher, *arguments):
    return [sys.executable, str(ROOT / "launchers" / f"{launcher}.py"), *map(str, arguments)]


def run(launcher, *arguments, cwd, data_root, code=0, **more):
    variables = environment(data_root) | more
    found = subprocess.run(
        command(launcher, *arguments), cwd=cwd, env=variables, capture_output=True, text=True, timeout=300
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
    for _ in range(10):  # other processes may be in the way, in a processor's cache, too
        if seconds and min(seconds) < 0.6:
            break
        before = os.times()
        found = run(launcher, "--help", cwd=tmp_path, data_root=data_root)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert "Usage:" in found.stdout
    assert min(seconds) < 0.6, "of processor time"


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
    ("search", ["--study-storage", "postgresql://u:secret@h/db"], "export DATG_STUDY_STORAGE=..."),
    ("search", ["--study-storage=postgresql://h/db?password=secret"], "`--study-storage` must not hold a password"),
    ("sync_mlflow", ["x", "--tracking-uri", "http://u:secret@h"], "export MLFLOW_TRACKING_URI=..."),
    ("compare", ["--dataset", "glyphs", "--strategies", "vanila"], "did you mean `vanilla`?"),
    ("compare", ["--strategies", "vanilla"], "--dataset is missing"),
    ("compare", ["--resume", "nothing"], "is no search in"),
    ("export", ["nothing"], "is no search in"),
    ("train", ["nothing.yaml"], "does not exist"),
    ("report", ["nothing", "--out", "."], "`--out` must be a file and not a folder, got ."),
    ("evaluate", ["."], "holds no best.safetensors"),
    ("evaluate", [".", "--save", "."], "`--save` must be a file and not a folder, got ."),
    ("import_data", ["skin", "nothing"], "does not exist"),
    ("import_data", ["skin", ".", "--form", "folders"], "is not a known form; did you mean `folder`?"),
    ("import_data", ["skin", ".", "--split", "holdout"], "is not a known protocol; did you mean `hold-out`?"),
    ("import_data", ["skin", ".", "--ratio", "2"], "import: `ratio` must"),
    ("import_data", ["skin", ".", "--duplicates", "both"], "import: `duplicates` must"),
    ("search", ["--dataset", "glyphs", "--test-dataset", "glyph"], "data set `glyph` is not in"),
    ("search", ["--dataset", "glyphs", "--enqueue", "strategy.alhpa=1"], "did you mean `strategy.alpha`?"),
    ("search", ["--dataset", "glyphs", "--enqueue", "strategy.alpha=99"], "from 0.1 to 10, got 99"),
    (
        "search",
        ["--dataset", "glyphs", "--trials", "1", *["--enqueue", "strategy.alpha=1"] * 2],
        "make room: --trials 3",
    ),
    ("search", ["--dataset", "glyphs", "--warm-start", "nothing"], "is no search in"),
    ("search", ["--dataset", "glyphs", "--name", "me", "--warm-start", "me"], "is the new search itself"),
    ("enqueue", ["nothing", "strategy.alpha=1"], "is no search in"),
    ("stop_trial", ["nothing", "1"], "is no search in"),
    ("apply", ["nothing", "support", "queries"], "there is no model nothing"),
]


@pytest.mark.parametrize(
    ("launcher", "arguments", "message"), MISTAKES, ids=[" ".join(mistake[1])[:60] for mistake in MISTAKES]
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(launcher, arguments, message, tmp_path, data_root):
    data = sorted(data_root.iterdir())
    found = run_warm(command(launcher, *arguments), cwd=tmp_path, env=environment(data_root))
    assert found.returncode == 2, found.stdout + found.stderr
    assert message in found.stderr and "Traceback" not in found.stderr
    assert list(tmp_path.iterdir()) == [] and sorted(data_root.iterdir()) == data


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("OSError(28, 'No space left on device', 'x.db')", 2, "error: x.db: No space left on device; free space"),
        (
            "PermissionError(13, 'Permission denied', 'x.db')",
            2,
            "error: x.db: Permission denied; choose a folder that you may write",
        ),
        ("ConnectionResetError(104, 'reset')", 1, "Traceback"),
        ("KeyError('a bug')", 1, "Traceback"),
        ("KeyboardInterrupt()", 130, ""),
    ],
)
def test_files_in_trouble_get_a_sentence_and_bugs_a_traceback(error, code, message):
    text = f"from datg.cli.main import run_command\ndef act() -> None:\n    raise {error}\nrun_command(act)"
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert found.returncode == code and message in found.stderr
    assert ("Traceback" in found.stderr) == (code == 1)


def test_verbose_shows_the_traceback_and_keeps_the_exit_code(tmp_path, data_root):
    found = run("export", "nothing", "-v", cwd=tmp_path, data_root=data_root, code=2)
    assert "Traceback" in found.stderr and "error: `nothing` is no search" in found.stderr


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_wait_without_spinning_unless_the_user_says_otherwise(given, policy, tmp_path, data_root):
    script = """
import os, sys
from datg.cli.main import run_command
def show():
    print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
run_command(show)
"""
    variables = {key: value for key, value in environment(data_root).items() if key != "OMP_WAIT_POLICY"} | given
    found = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == [policy, "False"], "set before torch is loaded, which reads it"


def test_a_dry_run_prints_every_value_and_where_it_came_from(tmp_path, data_root):
    arguments = ["--dataset", "glyphs", "--shots", 5, "--set", "training.preset=paper", "--dry-run"]
    lines = run("search", *arguments, cwd=tmp_path, data_root=data_root).stdout.splitlines()
    *rows, length = lines
    assert re.fullmatch(r"a training takes about .*, all 11 of them .* with up to \d+ at once \(timed .*\)", length)
    sources = {line.split()[0]: line.split()[1] + " " + line.split(maxsplit=2)[2].strip() for line in rows}
    assert sources["task.shots"] == "5 flag"
    assert sources["training.lr"] == "0.05 preset paper"
    assert sources["backbone.filters"] == "16 YAML"
    assert sources["search.seed"] == "0 default"
    assert list(tmp_path.iterdir()) == []


def test_what_a_library_in_c_says_of_a_picture_stays_off_the_terminal(tmp_path):
    noise = np.random.default_rng(0)
    for kind in range(15):
        (tmp_path / "raw" / f"class {kind:02d}").mkdir(parents=True)
        for number in range(21):
            picture = Image.fromarray(noise.integers(0, 256, (24, 24, 3), dtype=np.uint8))
            picture.save(tmp_path / "raw" / f"class {kind:02d}" / f"{number}.tif", compression="tiff_lzw")
    broken = tmp_path / "raw" / "class 00" / "0.tif"
    content = bytearray(broken.read_bytes())
    content[50:400] = bytes(byte ^ 0xFF for byte in content[50:400])
    broken.write_bytes(content)
    alone = subprocess.run(
        [sys.executable, "-c", f"from PIL import Image\ntry: Image.open({str(broken)!r}).load()\nexcept OSError: pass"],
        capture_output=True,
        text=True,
    )
    assert alone.stderr, "libtiff says something of this file"
    done = run(
        "import_data", "mine", "raw", "--data-root", "data", "--queries", 9, cwd=tmp_path, data_root=tmp_path / "other"
    )
    following = "next: python launchers/search.py --dataset mine --data-root data --set task.queries=9"
    assert following in done.stdout
    assert alone.stderr.strip() not in done.stderr and "class 00/0.tif" in done.stdout
    assert "looking at pictures: 1 of 315" in done.stderr


@pytest.mark.filterwarnings("ignore")
def test_search_export_train_and_evaluate(tmp_path, data_root):
    arguments = ["--dataset", "glyphs", "--trials", 4, "--json", *SMALL]
    # A cluster that is none, runs and experiments of others, proxies that are none, and no GPU.
    elsewhere = {"RAY_ADDRESS": "192.0.2.2:6379", "MLFLOW_RUN_ID": "0" * 32, "MLFLOW_EXPERIMENT_NAME": "of somebody"}
    elsewhere |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://192.0.2.3:3128")
    elsewhere |= {"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "", "TUNE_RESULT_DIR": str(tmp_path / "nowhere")}
    searched = run("search", *arguments, cwd=tmp_path, data_root=data_root, **elsewhere)
    found = json.loads(searched.stdout)
    assert "RAY_ADDRESS is 192.0.2.2:6379 and is not used" in searched.stderr
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "OMP_NUM_THREADS", "TUNE_RESULT_DIR"):
        assert f"{name} is {elsewhere[name]} and is not used" in searched.stderr
    assert "on a Ray started here, each with 1 CPU and no GPU; CUDA_VISIBLE_DEVICES is ''" in searched.stderr
    assert not (tmp_path / "nowhere").exists()
    folder = tmp_path / "runs" / found["search"]
    assert len(found["trials"]) == 4
    assert all(trial["episodes"] == 100 for trial in found["trials"])
    scores = [trial["validation"] for trial in found["trials"]]
    assert scores == sorted(scores, reverse=True)
    states = [trial.state.name for trial in trials_of(SearchFolder(folder))]
    assert len(states) == 4 and set(states) <= {"COMPLETE", "PRUNED"}

    client, runs = mlflow_runs(tmp_path)
    children = [run for run in runs if "trial" in run.data.tags]
    assert len(runs) == 6 and len(children) == 4
    assert not any("error" in child.data.tags for child in children)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for child in children:
        trial = int(child.data.tags["trial"])
        points = client.get_metric_history(child.info.run_id, "objective")
        lines = (folder / "trials" / str(trial) / "progress.jsonl").read_text().splitlines()
        assert [point.step for point in points] == [json.loads(line)["iteration"] for line in lines]

    (vanilla,) = found["references"]
    assert vanilla["name"] == "vanilla" and vanilla["episodes"] == 100
    (reference,) = [entry for entry in runs if entry.data.tags.get("reference") == "vanilla"]
    assert reference.data.tags["strategy"] == "vanilla" and reference.info.run_name == f"vanilla, {found['search']}"
    assert reference.data.metrics["test/accuracy"] == rounded(vanilla["test"])
    assert "best minus reference vanilla, paired by task: validation" in searched.stderr
    finalists = [trial for trial in found["trials"] if trial["selection"]]
    assert finalists[0]["selection"] == "best" and {trial["selection"] for trial in finalists[1:]} <= {"tie"}
    assert all((trial["fresh validation"] is not None) == (trial in finalists) for trial in found["trials"])
    marked = {int(child.data.tags["trial"]): child for child in children if "selection" in child.data.tags}
    assert marked.keys() == {trial["trial"] for trial in finalists}
    best_run = marked[finalists[0]["trial"]].data
    assert best_run.tags["selection"] == "best"
    assert best_run.metrics["fresh_val/accuracy"] == rounded(finalists[0]["fresh validation"])
    (parent,) = [entry for entry in runs if "mlflow.parentRunId" not in entry.data.tags]
    assert parent.data.tags["best"] == f"trial {finalists[0]['trial']}, the best of 4"
    first, *others = parent.data.tags["mlflow.note.content"].split("\n\n")
    assert first.startswith("best minus reference vanilla, paired by task: validation") and others
    described = client.get_experiment(parent.info.experiment_id).tags["mlflow.note.content"]
    assert described.startswith(f"- [{found['search']}](#/experiments/") and described.endswith(first)
    assert searched.stderr.count("&viewStateShareKey=") == 2, "the link stands at the start and at the end"
    assert f"report: {folder / 'report.html'}" in searched.stderr
    assert "report.html" in {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    page = (folder / "report.html").read_text()
    assert f"Trial {finalists[0]['trial']} is the best of" in page and "part could not be made" not in page
    assert "Still running" not in page
    assert "python launchers/search.py --dataset glyphs --trials 4 --json" in page
    assert "/runs?workflowType=machine_learning&viewStateShareKey=" in searched.stderr
    assert parent.data.metrics["gain_over_vanilla/test"] == pytest.approx(
        finalists[0]["test"] - vanilla["test"], abs=1e-4
    )
    assert parent.data.metrics["gain_over_trial_0/val"] >= 0
    assert parent.data.metrics["best/fresh_val"] == rounded(finalists[0]["fresh validation"])

    (folder / "trials" / str(finalists[0]["trial"]) / "fresh_validation.parquet").unlink()  # as if stopped before
    stopped = json.loads(run("status", found["search"], "--json", cwd=tmp_path, data_root=data_root).stdout)
    assert stopped["resume"] == f"python launchers/search.py --resume {found['search']}"
    assert [(row["trial"], row["test"]) for row in stopped["trials"]] == [
        (row["trial"], row["test"]) for row in found["trials"]
    ]
    assert all(row["strategy.alpha"] > 0 for row in stopped["trials"])
    again = run("search", "--resume", found["search"], "--json", cwd=tmp_path, data_root=data_root)
    assert json.loads(again.stdout)["trials"] == found["trials"], "made again, and the same"
    assert json.loads(again.stdout)["references"] == found["references"]
    assert f"the best of {len(found['trials'])} trials" in again.stderr and "fresh validation tasks" in again.stderr

    written = run("export", found["search"], "--top", 1, cwd=tmp_path, data_root=data_root).stdout
    assert (
        f"trial {finalists[0]['trial']} (best) of 4, validation {finalists[0]['validation']:.4f}, on fresh" in written
    )
    path = tmp_path / "configs" / f"{found['search']}-top1.yaml"
    exported = yaml.safe_load(path.read_text())
    best = max((t for t in trials_of(SearchFolder(folder)) if t.state.name == "COMPLETE"), key=lambda t: t.value)
    assert exported["provenance"]["trial"] == best.number
    assert exported["provenance"]["selection"]["of trials"] == 4
    assert exported["provenance"]["mlflow run"] in {child.info.run_id for child in children}
    assert exported["config"]["strategy"]["alpha"] == best.params["strategy.alpha"]

    trained = json.loads(run("train", path, "--seeds", 2, "--json", cwd=tmp_path, data_root=data_root).stdout)
    assert trained["summary"]["seeds"] == 2 and trained["summary"]["seeds_ci95"] > 0
    assert [seed["seed"] for seed in trained["seeds"]] == [1, 2], "never the seed that the search chose by"
    _, runs = mlflow_runs(tmp_path)
    assert len(runs) == 6 + 3
    again = json.loads(run("train", path, "--seeds", 2, "--json", cwd=tmp_path, data_root=data_root).stdout)
    assert again == trained, "what is done is not done again"

    for place in (f"runs/{found['search']}", f"runs/{trained['training']}/seed-1"):
        arguments = [place, "--episodes", 50, "--shots", 5, "--json"]
        evaluated = json.loads(run("evaluate", *arguments, cwd=tmp_path, data_root=data_root).stdout)
        assert evaluated["episodes"] == 50 and evaluated["shots"] == 5

    path.write_text(path.read_text().replace("clusters: ", "clusters: -"))
    broken = run("train", path, cwd=tmp_path, data_root=data_root, code=2)
    assert "`strategy.clusters` must be greater than or equal to 2" in broken.stderr


@pytest.mark.parametrize("strategies", ["vanilla,taml,datg", pytest.param("all", marks=pytest.mark.slow)])
def test_compare_strategies_and_go_on(strategies, tmp_path, data_root):
    pairs = Comparison.parse("protonet,maml", strategies, 1, settings={}, tuned=[]).pairs()
    learners = ["--learner", "protonet,maml", "--set", "learner.inner_steps=1", "--set", "learner.inner_steps_test=1"]
    short = ["--set", "training.iterations=4", "--set", "training.eval_every=2", "--set", "backbone.filters=6"]
    # Large steps: after few small ones a strategy still predicts what vanilla does.
    short += ["--set", "evaluation.validation_tasks=20", "--final-episodes", "30", "--set", "training.lr=0.02"]
    short += ["--set", "strategy.samples_test=1"] if strategies == "all" else []
    arguments = ["--dataset", "glyphs", "--strategies", strategies, "--seeds", "1", *learners, *short]
    stopped = run("compare", *arguments, "--time-budget", "1", cwd=tmp_path, data_root=data_root, code=75)
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"python launchers/compare.py --resume {folder.name}" in stopped.stderr
    assert "taml is left out with protonet" in stopped.stderr
    found = json.loads(run("compare", "--resume", folder.name, "--json", cwd=tmp_path, data_root=data_root).stdout)
    rows = found["trials"]
    assert len(rows) == len(pairs) and all(row["seeds"] == 1 and row["accuracy"] > 0 for row in rows)
    assert all(row["minus_vanilla_ci95"] > 0 for row in rows if row["strategy"] != "vanilla")
    states = [trial.state.name for trial in trials_of(SearchFolder(folder))]
    assert states == ["COMPLETE"] * len(pairs)
    client, runs = mlflow_runs(tmp_path)
    children = [entry.data.tags for entry in runs if "mlflow.parentRunId" in entry.data.tags]
    assert {(tags["learner"], tags["strategy"]) for tags in children} == {(r["learner"], r["strategy"]) for r in rows}
    (parent,) = [entry for entry in runs if "mlflow.parentRunId" not in entry.data.tags]
    assert parent.data.tags["kind"] == "comparison" and parent.info.status == "FINISHED"
    artifacts = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    assert {"comparison.md", "comparison.csv", "comparison.tex", "comparison.seeds.csv"} <= artifacts
    more = run("search", "--resume", folder.name, cwd=tmp_path, data_root=data_root, code=2)
    assert f"is a comparison; go on with: python launchers/compare.py --resume {folder.name}" in more.stderr
    other = run("compare", "--resume", folder.name, "--seeds", "2", cwd=tmp_path, data_root=data_root, code=2)
    assert "the trials of a comparison stand in a grid" in other.stderr


@pytest.mark.parametrize(
    ("command_name", "table"),
    [
        ("search", "datg.learners:LEARNERS"),
        ("search", "datg.strategies:STRATEGIES"),
        ("search", "datg.search.study:SAMPLERS"),
        ("search", "datg.search.study:PRUNERS"),
        ("compare", "datg.strategies:STRATEGIES"),
        ("import_data", "datg.data.importing.formats:FORMATS"),
        ("import_data", "datg.data.protocols:PROTOCOLS"),
    ],
)
def test_help_names_what_stands_in_the_tables(command_name, table, tmp_path, data_root):
    module, _, name = table.partition(":")
    said = " ".join(run(command_name, "--help", cwd=tmp_path, data_root=data_root).stdout.split())
    assert ", ".join(getattr(importlib.import_module(module), name)) in said.replace("- ", "-")


def datg_command(*arguments, cwd):
    script = Path(sys.executable).with_name("datg")
    return subprocess.run([script, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_datg_is_every_launcher(tmp_path):
    listed = datg_command("--help", cwd=tmp_path)
    assert sorted(COMMANDS) == LAUNCHERS and all(f"  {name} " in listed.stdout for name in COMMANDS)
    assert datg_command("--version", cwd=tmp_path).stdout == f"datg {importlib.metadata.version('datg')}\n"
    for name in ("sync_mlflow", "sync-mlflow"):
        assert datg_command(name, "nothing", cwd=tmp_path).stderr.startswith("error: `nothing` is no search in runs;")
    assert "No such command 'serch'" in datg_command("serch", cwd=tmp_path).stderr
    # Typer looks for a shell among the parents of the process; a test may have none, so it gets one that waits for it.
    script = f"{Path(sys.executable).with_name('datg')} --show-completion; true"
    assert "complete" in subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_search_clusters_by_embeddings_of_a_network_trained_once(tmp_path, data_root):
    options = ["--trials", "2", "--set", "strategy.cluster_features=embedding", "--no-references", *SMALL]
    run("search", "--dataset", "glyphs", *options, cwd=tmp_path, data_root=data_root)
    (folder,) = (tmp_path / "runs").iterdir()
    network = folder / "network" / "best.safetensors"
    for number in (0, 1):
        values = yaml.safe_load((folder / "trials" / str(number) / "config.yaml").read_text())
        assert values["strategy"]["cluster_checkpoint"] == str(network) and network.exists()
        assert json.loads((folder / "trials" / str(number) / "clusters.json").read_text())["features"] == "embedding"


@pytest.mark.slow
def test_compare_after_a_search_for_each_and_go_on(tmp_path, data_root):
    short = ["--set", "training.iterations=8", "--set", "training.eval_every=4", "--set", "backbone.filters=4"]
    short += ["--set", "evaluation.validation_tasks=40", "--final-episodes", "30", "--seeds", "2"]
    name = "grid"
    options = ["--dataset", "glyphs", "--strategies", "vanilla,random_mixup", "--tune", "2", *short, "--name", name]
    process = subprocess.Popen(
        command("compare", *options), cwd=tmp_path, env=environment(data_root), stderr=subprocess.DEVNULL
    )
    until(lambda: list(tmp_path.glob("runs/*--vanilla/best.yaml")))
    process.kill()
    process.wait(30)
    told = run("status", f"{name}--random_mixup", cwd=tmp_path, data_root=data_root).stdout
    assert f"go on with: python launchers/compare.py --resume {name}" in told
    other = run("compare", "--resume", name, "--tune", "3", cwd=tmp_path, data_root=data_root, code=2)
    assert "`--tune` 3: this comparison began with --tune 2" in other.stderr
    another = run("compare", *options, "--set", "training.lr=0.5", cwd=tmp_path, data_root=data_root, code=2)
    assert "`--name` grid has begun as another comparison" in another.stderr
    assert "set.training.lr: not given -> 0.5" in another.stderr
    wrong = run("search", "--dataset", "glyphs", "--name", name, cwd=tmp_path, data_root=data_root, code=2)
    assert "grid is a comparison; go on with: python launchers/compare.py --resume grid" in wrong.stderr
    ended = run("compare", *options, "--json", cwd=tmp_path, data_root=data_root)
    rows = json.loads(ended.stdout)["trials"]
    assert [(row["strategy"], row["tuned"], row["seeds"]) for row in rows] == [
        ("vanilla", 2, 2),
        ("random_mixup", 2, 2),
    ]
    searches = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.name != name)
    assert searches == [f"{name}--random_mixup", f"{name}--vanilla"]
    for search in searches:
        states = [trial.state.name for trial in trials_of(SearchFolder(tmp_path / "runs" / search))]
        assert len(states) == 2 and set(states) <= {"COMPLETE", "PRUNED"}
    settings = yaml.safe_load((tmp_path / "runs" / name / "search.yaml").read_text())
    best = yaml.safe_load((tmp_path / "runs" / f"{name}--random_mixup" / "best.yaml").read_text())["config"]
    assert all(s["strategy"] == best["strategy"] for s in settings["grid"] if s["strategy"]["name"] == "random_mixup")
    assert {setting["seed"] for setting in settings["grid"]} == {1, 2}, "never a seed that a search chose by"
    _, runs = mlflow_runs(tmp_path)
    parents = [entry for entry in runs if "mlflow.parentRunId" not in entry.data.tags]
    assert {entry.data.tags["search"]: entry.data.tags.get("comparison") for entry in parents} == {
        name: None, **dict.fromkeys(searches, name)
    }  # fmt: skip
    assert len({entry.info.experiment_id for entry in parents}) == 1 and len(parents) == 3
