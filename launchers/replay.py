"""Runs one trial of a search again and says whether the result is the same: to the bit on a CPU.

python launchers/replay.py dermnet-20261122-1 4
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("replay")
