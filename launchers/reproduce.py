"""Runs the paper's experiments on the data sets that are imported, and shows the results beside the paper's numbers.

python launchers/reproduce.py all --dry-run                          # what it costs
python launchers/reproduce.py table1 --datasets dermnet --learners protonet --shots 1
python launchers/reproduce.py all --quick --datasets glyphs          # how it works, on the built-in data set
python launchers/reproduce.py --resume reproduction-20261126-1
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("reproduce")
