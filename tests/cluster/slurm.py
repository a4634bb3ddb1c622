"""A Slurm cluster of two nodes on this machine, from Debian's slurm-wlm and munge (needs root); each has one invented GPU."""

import os
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
NODES, FIRST_PORT = ("n1", "n2"), 17310
# What a real cluster waits for long is short here: the time until a job may start again is that of its credentials.
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,builtin_interval=1
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=30
GresTypes=gpu
NodeName={nodes} NodeHostname=localhost Port={ports} CPUs={cpus} RealMemory=1000 Gres=gpu:1
PartitionName=all Nodes={nodes} Default=YES MaxTime=60 State=UP
"""

needs_slurm = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)),
    reason="needs root and Slurm: apt-get install slurm-wlm munge",
)


class Slurm:
    """Starts it below ``place`` and ends it; commands find it by ``environment``."""

    def __init__(self, place: Path) -> None:
        self.place, self.environment = place, {"SLURM_CONF": str(place / "slurm.conf")}
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Slurm":
        for folder in ("munge", "state", *NODES):
            (self.place / folder).mkdir(parents=True)
        key = self.place / "munge" / "key"
        key.write_bytes(secrets.token_bytes(64))
        key.chmod(0o400)
        (self.place / "munge").chmod(0o711)
        last = FIRST_PORT + len(NODES)
        (self.place / "slurm.conf").write_text(
            CONFIGURATION.format(
                place=self.place,
                port=FIRST_PORT,
                nodes=",".join(NODES),
                ports=f"[{FIRST_PORT + 1}-{last}]",
                cpus=os.cpu_count(),
            )
        )
        (self.place / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/null\n")
        try:
            self._start("munged", "--force", *(f"--{name}-file=munge/{name}" for name in ("key", "pid", "log", "seed")))
            self._until((self.place / "munge" / "socket").exists)
            self._start("slurmctld")
            for node in NODES:
                self._start("slurmd", "-N", node)
            self._until(lambda: self.run("sinfo", "--noheader", "--format=%T").split() == ["idle"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def _start(self, program: str, *arguments: str) -> None:
        stay = {"munged": ["--foreground", f"--socket={self.place}/munge/socket"]}.get(program, ["-D"])
        with (self.place / f"{program}-{len(self._processes)}.txt").open("w") as log:
            self._processes.append(
                subprocess.Popen(
                    [program, *stay, *arguments],
                    cwd=self.place,
                    env={**os.environ, **self.environment},
                    stdout=log,
                    stderr=log,
                )
            )

    def _until(self, condition, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                said = "\n".join(path.read_text()[-2000:] for path in self.place.glob("*.txt"))
                raise RuntimeError(f"Slurm did not start:\n{said}")
            time.sleep(0.1)

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        found = subprocess.run(
            command,
            cwd=cwd or self.place,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return found.stdout

    def job(self, number: str) -> dict[str, str]:
        """What Slurm says of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", number, "--oneliner")))
