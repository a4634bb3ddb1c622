"""Imports raw files into a data set that every other command finds by name.

python launchers/import_data.py dermnet /data/Dermnet --min-examples 20
python launchers/import_data.py mini_imagenet /data/miniImagenet       # pickles, caches, CSV lists or folders
python launchers/import_data.py isic /data/ISIC2018 --protocol leave-one-out --left-out MEL
python launchers/import_data.py tabula_muris /data/tabula-muris-comet.h5ad
python launchers/import_data.py moles /data/moles.zip --protocol random --base-classes 20 --novel-classes 10
"""

from datg.cli.main import run

if __name__ == "__main__":
    run("import_data")
