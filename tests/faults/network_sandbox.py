"""A network namespace in which every packet that tries to leave the machine is counted, and goes nowhere."""

import re
import subprocess
from pathlib import Path

# The way out is one end of a veth pair whose other end nobody listens to. Names are asked for beyond it, so that a look-up
# counts too; localhost is in the hosts file for both families, or glibc would ask.
SETUP = r"""
set -e
mount -t tmpfs tmpfs /run
for file in all default; do echo 1 > /proc/sys/net/ipv6/conf/$file/disable_ipv6; done
ip link set lo up
ip link add out type veth peer name nowhere
ip link set nowhere arp off up
ip link set out arp off up
ip addr add 192.0.2.2/24 dev out
ip route add default via 192.0.2.1 dev out
printf 'nameserver 192.0.2.53\noptions timeout:1 attempts:1\n' > /run/resolv
mount --bind /run/resolv /etc/resolv.conf
printf '127.0.0.1 localhost %s\n::1 localhost\n' "$(hostname)" > /run/hosts
mount --bind /run/hosts /etc/hosts
mount -t sysfs sysfs /sys
set +e
"$@"
code=$?
echo "packets: $(cat /sys/class/net/out/statistics/tx_packets)" >&2
exit $code
"""
UNSHARE = ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child", "--propagation", "private"]


def packets_that_tried_to_leave(
    command: list[str], *, cwd: Path, env: dict[str, str]
) -> tuple[subprocess.CompletedProcess[str], int]:
    """Runs a command in such a namespace (needs root)."""
    found = subprocess.run(
        [*UNSHARE, "sh", "-c", SETUP, "sh", *command], cwd=cwd, env=env, text=True, capture_output=True, timeout=400
    )
    counted = re.search(r"packets: (\d+)\s*\Z", found.stderr)
    assert counted, found.stdout + found.stderr
    return found, int(counted[1])
