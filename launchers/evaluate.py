"""Evaluates best weights on tasks of novel classes.

python launchers/evaluate.py runs/dermnet-20261122-1/trials/4 --episodes 20000 --shots 5
python launchers/evaluate.py runs/dermnet-20261122-1          # its best trial by validation
python launchers/evaluate.py best.safetensors --json
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("evaluate")
