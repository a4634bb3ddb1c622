"""What a search is doing, or did before it died: reads its folder alone.

python launchers/status.py                      # every search in ./runs, a line each
python launchers/status.py dermnet-20261122-1
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("status")
