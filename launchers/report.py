"""Writes what a search found as one HTML file that needs no network; also while it runs.

python launchers/report.py dermnet-20261122-1
python launchers/report.py dermnet-20261122-1 dermnet-20261123-1 --out both.html      # side by side
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("report")
