"""Final training of a configuration with several seeds, each evaluated on novel classes, logged to MLflow.

    python launchers/train.py configs/dermnet-20261122-1-top1.yaml --seeds 3
    python launchers/train.py configs/isic-20261122-1-top1.yaml --all-base-examples   # held-out examples, too
    python launchers/train.py search_spaces/dermnet.yaml --set strategy.name=vanilla   # a baseline, at the paper's setting

Run again with the same arguments it goes on where it was stopped.
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("train")
