"""Has a search run hand-picked trials next, also while it runs.

python launchers/enqueue.py dermnet-20261122-1 strategy.alpha=0.5,strategy.beta=0.5
python launchers/enqueue.py dermnet-20261122-1 configs/ham10000-20261120-1-top1.yaml
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("enqueue")
