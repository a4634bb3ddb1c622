"""Ends one trial of a search that runs; its best weights so far are evaluated.

python launchers/stop_trial.py dermnet-20261122-1 7
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("stop_trial")
