"""Separate hosts on one machine (needs root): each in network, mount, process and host-name namespaces of its own.

A switch in one more namespace joins them. All hang on one first process a host, which ends when the pipe to this process
closes: nothing outlives the tests, even killed ones. A common folder stands for shared storage.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NET, PORT = "10.213.77.", 6399
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--disable-usage-stats"]
RAY += ["--object-store-memory=80000000"]
# Ray notices a host that is cut off after 64 s by default, and the host itself never. A busy machine may be silent for seconds.
# Workers must not give way to every other process, or they starve beside another test.
QUICK = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}
FIRST_PROCESS = """
import os, select
print("up", flush=True)
while True:
    if select.select([0], [], [], 0.3)[0] and not os.read(0, 1):
        os._exit(0)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""
SETUP = """
set -e
ip link set lo up
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || true
hostname "$1"
if [ -n "$2" ]; then
  mount --bind "$2/hosts" /etc/hosts
  mount --bind "$2/resolv.conf" /etc/resolv.conf
  mkdir -p /tmp/ray
  mount --bind "$2/ray" /tmp/ray
  mount -t tmpfs -o size=512m tmpfs /dev/shm
fi
exec "$3" -c "$4"
"""
UNSHARE = [
    "unshare",
    "-n",
    "-m",
    "-p",
    "-u",
    "-i",
    "-f",
    "--mount-proc",
    "--propagation",
    "private",
    "--kill-child=SIGKILL",
]


class Host:
    """One machine, or the switch if it has no folder."""

    def __init__(self, name: str, folder: Path | None = None, ip: str = "") -> None:
        self.name, self.ip = name, ip
        if folder is not None:
            (folder / "ray").mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{ip} {name}\n")
            (folder / "resolv.conf").write_text("")
        arguments = [name, str(folder or ""), sys.executable, FIRST_PROCESS]
        self._process = subprocess.Popen(
            [*UNSHARE, "sh", "-c", SETUP, "sh", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            text=True,
        )
        if not select.select([self._process.stdout], [], [], 20)[0] or self._process.stdout.readline().strip() != "up":
            raise RuntimeError(f"host {name} did not come up")
        parent = self._process.pid
        self.pid = int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])

    def inside(self, *command: Any) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "-u", "-i", "--wdns=/", *map(str, command)]

    def run(self, *command: Any, **environment: str) -> str:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        found = subprocess.run(
            self.inside(*command), env={**clean, **QUICK, **environment}, text=True, capture_output=True, timeout=120
        )
        assert found.returncode == 0, f"{self.name}: {command}: {found.stdout}{found.stderr}"
        return found.stdout

    def kill(self) -> None:
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait(20)
        self._process.stdin.close()
        self._process.stdout.close()


class Hosts:
    """A head and two workers with Ray; ``shared`` is the same folder on all."""

    def __init__(self) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="datg-hosts-"))
        self.shared, self.address, self.hosts = self._base / "shared", f"{NET}10:{PORT}", {}
        self.shared.mkdir()
        try:
            self._switch = Host("switch")
            self._net("link", "add", "br0", "type", "bridge")
            self._net("link", "set", "br0", "up")
            for number, name in enumerate(("head", "first", "second")):
                self._add(name, f"{NET}{10 + number}")
            self["head"].run(
                *RAY, "--head", f"--node-ip-address={NET}10", f"--port={PORT}", "--include-dashboard=false"
            )
            for name in ("first", "second"):
                self.join(name)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def _net(self, *arguments: Any) -> None:
        subprocess.run(["nsenter", "-t", str(self._switch.pid), "-n", "ip", *map(str, arguments)], check=True)

    def _add(self, name: str, ip: str) -> None:
        host = self.hosts[name] = Host(name, self._base / name, ip)
        self._net("link", "add", f"p-{name}", "type", "veth", "peer", "name", "eth0", "netns", host.pid)
        self._net("link", "set", f"p-{name}", "master", "br0", "up")
        host.run("ip", "addr", "add", f"{ip}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")

    def join(self, name: str) -> None:
        """Ray on a worker, which becomes a node of the cluster."""
        self[name].run(*RAY, f"--address={self.address}", f"--node-ip-address={self[name].ip}")

    def cut(self, name: str) -> None:
        self._net("link", "set", f"p-{name}", "down")

    def repair(self, name: str) -> None:
        self._net("link", "set", f"p-{name}", "up")

    def close(self) -> None:
        for host in [*self.hosts.values(), *filter(None, [getattr(self, "_switch", None)])]:
            host.kill()
        shutil.rmtree(self._base, ignore_errors=True)
