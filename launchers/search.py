"""Searches DATG's hyperparameters: Ray runs trials, Optuna suggests and prunes them, MLflow shows them.

python launchers/search.py --dataset glyphs
python launchers/search.py --dataset dermnet --address auto --gpus-per-trial 0.25
python launchers/search.py --dataset dermnet --learner maml --strategy metamix    # searches what metamix has
python launchers/search.py --dataset dermnet --trials 6 --set training.iterations=200 --set training.eval_every=50
python launchers/search.py --dataset mini_imagenet --test-dataset dermnet         # cross-domain: final evaluations on dermnet
python launchers/search.py --resume dermnet-20261122-1
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("search")
