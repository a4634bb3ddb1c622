"""Compares strategies with several seeds under one preset on the same tasks, through the search's own machinery.

python launchers/compare.py --dataset glyphs --strategies all --learner protonet --seeds 3
python launchers/compare.py --dataset dermnet --strategies vanilla,mlti,datg --learner protonet,maml --shots 5
python launchers/compare.py --dataset dermnet --tuned configs/dermnet-20261122-1-top1.yaml
python launchers/compare.py --resume glyphs-comparison-20261122-1
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("compare")
