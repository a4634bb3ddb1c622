"""Searches as a user starts them, in processes of their own, and what must be true of them whatever happened."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial

from datg.search.settings import SearchSettings
from datg.search.state.folder import SearchFolder
from datg.search.study.stored import open_study, sqlite_url
from datg.storage.lease import TRIAL_LEASE, read_lease
from datg.tracking.entities import rounded
from datg.trial.folder import read_reports
from datg.trial.records import OUTCOME

ROOT = Path(__file__).parent.parent.parent
SMALL = ["--dataset", "glyphs", "--set", "backbone.filters=4", "--set", "evaluation.validation_tasks=50"]
# No clusters and no MMD: what is tested here is the same for every strategy, and this one takes half the time.
SMALL += ["--final-episodes", "100", "--strategy", "random_mixup", "--no-references", "--no-report"]


# Ray's workers give way to every other process, and would starve beside another test.
NOT_NICE = {"RAY_worker_niceness": "0"}


def makes_machines() -> bool:
    """Whether this process may mount file systems and make namespaces with networks of their own."""
    trial = ["unshare", "-n", "-m", "-p", "-f", "sh", "-c", "mount -t tmpfs tmpfs /run && ip link set lo up"]
    return shutil.which("unshare") is not None and subprocess.run(trial, capture_output=True).returncode == 0


needs_machines = pytest.mark.skipif(
    not makes_machines(), reason="mounting and making namespaces needs root and iproute2"
)


def steps(iterations: int, every: int) -> list[str]:
    """Flags for the length of a trial and of its validation intervals."""
    return ["--set", f"training.iterations={iterations}", "--set", f"training.eval_every={every}"]


class Place:
    """A folder to run commands in, with its environment."""

    def __init__(self, path: Path, data_root: Path, **environment: str) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("DATG_", "MLFLOW_", "RAY_"))}
        self.path, self.environment = path, {**clean, **NOT_NICE, "DATG_DATA": str(data_root), **environment}
        self._processes: list[subprocess.Popen] = []

    def command(self, launcher: str, *arguments: object) -> list[str]:
        return [sys.executable, str(ROOT / "launchers" / f"{launcher}.py"), *map(str, arguments)]

    def start(self, launcher: str, *arguments: object) -> subprocess.Popen:
        log = (self.path / f"log-{len(self._processes)}.txt").open("w")
        with log:
            process = subprocess.Popen(
                self.command(launcher, *arguments), cwd=self.path, env=self.environment, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def run(self, launcher: str, *arguments: object, code: int = 0, timeout: float = 300) -> str:
        """What a command printed; it must end with ``code``."""
        process = self.start(launcher, *arguments)
        self.wait(process, code, timeout)
        return self.said(process)

    def wait(self, process: subprocess.Popen, code: int, timeout: float = 300) -> None:
        assert process.wait(timeout) == code, self.said(process)

    def said(self, process: subprocess.Popen) -> str:
        return (self.path / f"log-{self._processes.index(process)}.txt").read_text()

    def end_all(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(30)

    @property
    def folder(self) -> SearchFolder:
        """The only search's folder."""
        (path,) = (self.path / "runs").iterdir()
        return SearchFolder(path)

    @property
    def tracking(self) -> str:
        return f"sqlite:///{self.path}/mlflow.db"


def until(condition, timeout: float = 300, every: float = 0.05):
    """The first true value of ``condition()``."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if value := condition():
                return value
        time.sleep(every)
    raise AssertionError("what was waited for did not happen")


def validations(place: Place) -> dict[int, list]:
    """By trial number, what stands in the progress files."""
    return {int(path.name): read_reports(path) for path in place.path.glob("runs/*/trials/*")}


def worker_of(place: Place, number: int) -> int | None:
    """The process that computes a trial now."""
    lease = read_lease(place.folder.trial(number) / TRIAL_LEASE)
    alive = lease is not None and lease.is_active and Path(f"/proc/{lease.pid}").exists()
    return lease.pid if alive and not (place.folder.trial(number) / OUTCOME).exists() else None


def kill(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    if number == signal.SIGKILL:
        process.wait(30)


def trials_of(folder: SearchFolder, storage: str | None = None) -> list[FrozenTrial]:
    """What the study in the database holds."""
    stored = open_study(storage or sqlite_url(folder.study), SearchSettings.load(folder).study)
    try:
        return stored.trials()
    finally:
        stored.close()


def check_whole(
    folder: SearchFolder, trials: int, *, storage: str | None = None, steps: list[int] | None = None
) -> Counter:
    """The study has exactly so many trials, all ended, told as their folders say; with weights, they are evaluated."""
    study = trials_of(folder, storage)
    assert [trial.number for trial in study] == list(range(trials))
    assert all(trial.state.is_finished() for trial in study), Counter(trial.state.name for trial in study)
    for trial in study:
        place = folder.trial(trial.number)
        history = read_reports(place)
        iterations = [entry.iteration for entry in history]
        assert json.loads((place / OUTCOME).read_text())["outcome"] == trial.user_attrs["outcome"]
        assert sorted(trial.intermediate_values) == list(range(1, len(history) + 1)), "no report is missing or doubled"
        assert list(trial.intermediate_values.values()) == [entry.accuracy for entry in history]
        assert (place / "evaluation.parquet").exists() == (place / "best.safetensors").exists() == bool(history)
        if steps is not None and trial.state.name == "COMPLETE":
            assert iterations == steps
    return Counter(trial.user_attrs["outcome"] for trial in study)


def check_mlflow(uri: str, folder: SearchFolder, *, status: str = "FINISHED") -> None:
    """One run a trial, none RUNNING, each metric point of each validation exactly once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    settings = SearchSettings.load(folder)
    experiment = client.get_experiment_by_name(f"datg/{settings.config.dataset}")
    runs = client.search_runs(
        [experiment.experiment_id], filter_string=f"tags.`mlflow.datg.id` = '{settings.id}'", max_results=5000
    )
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.status for run in parents] == [status]
    assert all(run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id for run in children)
    numbers = sorted(int(run.data.tags["trial"]) for run in children)
    assert numbers == sorted(int(path.name) for path in (folder.path / "trials").iterdir()), "exactly one run a trial"
    assert "RUNNING" not in {run.info.status for run in children}
    for run in children:
        place = folder.trial(int(run.data.tags["trial"]))
        history = read_reports(place)
        assert run.data.tags["outcome"] == json.loads((place / OUTCOME).read_text())["outcome"]
        for key, of in {"objective": lambda e: e.objective, "val/accuracy": lambda e: e.accuracy}.items():
            points = client.get_metric_history(run.info.run_id, key)
            assert [(p.step, p.value) for p in sorted(points, key=lambda p: p.step)] == [
                (e.iteration, rounded(of(e))) for e in history
            ]
        if history and json.loads((place / OUTCOME).read_text())["final"]:
            assert len(client.get_metric_history(run.info.run_id, "test/accuracy")) == 1
            assert "best.safetensors" in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
