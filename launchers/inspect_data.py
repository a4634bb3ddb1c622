"""Shows a data set: classes and sizes, examples, clusters of its base classes, and a few generated tasks, as PNG files.

python launchers/inspect_data.py dermnet
python launchers/inspect_data.py dermnet --clusters 4 --ways 5 --out dermnet-pictures
python launchers/inspect_data.py mini_imagenet --identify-by mini_named    # which numbered class is which named one
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("inspect_data")
