"""`launchers/cluster/slurm.sbatch` on a real Slurm: submitted, told that its time is over, queued again, finished; cancelled."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.slurm import Slurm, needs_slurm
from tests.faults.searches import NOT_NICE, ROOT, SMALL, Place, check_mlflow, check_whole, steps, until

pytestmark = [pytest.mark.slow, pytest.mark.fault, needs_slurm]
SCRIPT = ROOT / "launchers" / "cluster" / "slurm.sbatch"
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def submit(slurm, place):
    """Submits the script with a command of datg; what still runs at the end is cancelled."""
    jobs = []

    def act(*arguments, **options):
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        command = ["sbatch", "--parsable", "--cpus-per-task=1", "--time=20", *flags, str(SCRIPT), *map(str, arguments)]
        environment = {**NOT_NICE, "DATG_ENVIRONMENT": sys.prefix, "DATG_DATA": place.environment["DATG_DATA"]}
        jobs.append(slurm.run(*command, cwd=place.path, **environment).strip())
        assert jobs[-1].isdigit()
        return jobs[-1]

    yield act
    for job in jobs:
        slurm.run("scancel", "--signal=KILL", "--full", job)
        slurm.run("scancel", job)
        shutil.rmtree(f"/tmp/ray-{job}", ignore_errors=True)


def said(place: Place, job: str) -> str:
    log = place.path / f"datg-{job}.log"
    return log.read_text() if log.exists() else ""


def ended(slurm, job):
    return until(lambda: (found := slurm.job(job)).get("JobState") in ENDED and found, timeout=240)


def ray_processes(job):
    return subprocess.run(["pgrep", "-f", f"/tmp/ray-{job}/"], capture_output=True, text=True).stdout.split()


def test_a_job_whose_time_is_over_is_queued_again_and_goes_on_to_the_end(slurm, submit, place):
    job = submit("search", *SMALL, *steps(300, 20), "--trials", 3, "--pruner", "none")
    token = place.path / f".ray-token-{job}"
    until(lambda: "trials: up to 2 at once" in said(place, job), timeout=120)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text().strip()) == 64
    until(lambda: list(place.path.glob("runs/*/trials/*/progress.jsonl")))
    slurm.run("scancel", "--signal=USR1", "--batch", job)
    until(lambda: slurm.job(job).get("Restarts") == "1", timeout=60)
    assert f"stopped (SIGUSR1); go on with: datg search --resume datg-{job}" in said(place, job)
    found = ended(slurm, job)
    assert (found["JobState"], found["ExitCode"]) == ("COMPLETED", "0:0"), said(place, job)
    assert "best by validation" in said(place, job).partition("SIGUSR1")[2]
    assert place.folder.name == f"datg-{job}"
    check_whole(place.folder, 3, steps=list(range(20, 301, 20)))
    check_mlflow(place.tracking, place.folder)
    assert not token.exists() and not Path(f"/tmp/ray-{job}").exists() and not ray_processes(job)


def test_a_cancelled_job_saves_and_is_not_queued_again(slurm, submit, place):
    job = submit("search", *SMALL, *steps(3000, 20), "--trials", 2, "--name", "mine", nodes=1)
    until(lambda: list(place.path.glob("runs/mine/trials/*/progress.jsonl")), timeout=120)
    slurm.run("scancel", job)
    found = ended(slurm, job)
    assert (found["JobState"], found["Restarts"]) == ("CANCELLED", "0")
    assert "stopped (SIGTERM); go on with: datg search --resume mine" in said(place, job)
    until(lambda: not ray_processes(job), timeout=60)


def test_gpus_that_slurm_gave_are_told_to_ray_and_one_that_torch_cannot_use_is_named(slurm, submit, place):
    job = submit("search", *SMALL, *steps(20, 10), "--trials", 1, nodes=1, gpus_per_node=1)
    found = ended(slurm, job)
    assert (found["JobState"], found["ExitCode"]) == ("FAILED", "2:0"), said(place, job)
    assert "Ray has 1 GPUs there and torch sees 0" in said(
        place, job
    ) and f"Ray's logs are left in /tmp/ray-{job}" in said(place, job)
    assert not list(place.path.glob("runs/*")) and not ray_processes(job)
