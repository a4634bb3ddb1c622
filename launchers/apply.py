"""Classifies a user's pictures or cells by a few labelled examples of each class, with a model that a search has found.

python launchers/apply.py runs/dermnet-20261122-1-top1-final support/ queries/ --out predictions.csv
python launchers/apply.py models:/datg-dermnet@best support.csv picture.jpg another.jpg --review least_certain.png
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("apply")
