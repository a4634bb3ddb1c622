"""Whether each node of a Ray cluster can run trials: this package, the shared folder, GPUs, shared memory, the clock.

python launchers/check_cluster.py --address auto --output /shared/runs
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("check_cluster")
