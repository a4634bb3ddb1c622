"""Exports the best configurations of a search for final training, ranked by validation.

python launchers/export.py dermnet-20261122-1 --top 3 --out configs
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("export")
