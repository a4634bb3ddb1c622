"""DermNet as it is widely distributed: ``train`` and ``test`` with super-class folders, fine classes in the file names.

``acne-cystic-33.jpg`` is a picture of ``acne-cystic``. Many names are irregular, so the classes are *not* the paper's 203: what
was recovered is written into a class list, which can be corrected and given again.
"""

import re
from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.images import PictureFile
from datg.data.importing.raw_files import class_folders, class_names, remark_on
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError
from datg.storage.files import read_yaml, write_yaml

FORM = "super-class folders below train and test"
NUMBER = re.compile(r"[-_ ]*\(?\d+\)?$")  # what ends a file name: -33, _4, 0216, (2)
HEADER = """\
# Fine classes recovered from file names: class name, then the stems of its files (name in lower case without its number).
# Correct it (merge, rename or remove classes) and import again with the same --class-list.
"""


def recognise(raw: Path) -> bool:
    """Return whether train and test hold folders of the same names, and some are called photos as in that distribution."""
    if not (raw / "train").is_dir() or not (raw / "test").is_dir():
        return False
    shared = set(class_names(raw / "train")) & set(class_names(raw / "test"))
    return any(name.endswith(" Photos") for name in shared)


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Group all pictures by the stem of their file name, or as a class list says.

    Raises:
        DataError: there are no pictures, or the class list does not fit them.
    """
    places = [raw / name for name in ("train", "test") if (raw / name).is_dir()]
    stems: dict[str, list[PictureFile]] = {}
    listings = [listing for folder in places for _, listing in class_folders(folder)]
    for listing in listings:
        for path in listing.files:
            stems.setdefault(stem_of(path), []).append(PictureFile.of(path, raw, settings.image_size))
    if not stems:
        raise DataError(f"{raw} must hold train or test with folders of pictures.")
    stems = dict(sorted(stems.items()))
    classes = stems
    remark = "fine classes were recovered from file names: they are like those of DermNet-S, but not the paper's 203"
    if settings.class_list is not None and settings.class_list.exists():
        classes = _listed_classes(settings.class_list, stems)
        remark += f", and follow {settings.class_list.name}"
    elif settings.class_list is not None:
        write_yaml(settings.class_list, {name: [name] for name in stems}, header=HEADER)
        work.notify(f"{len(stems)} classes recovered; correct them in {settings.class_list} and import again.")
    shape = (3, settings.image_size, settings.image_size)
    return RawData(classes, shape=shape, remarks=(remark + ".", *remark_on(listings, raw)))


def stem_of(path: Path) -> str:
    """Return the file name in lower case without what numbers it."""
    name = path.stem.lower().strip()
    return NUMBER.sub("", name).strip("-_ ") or name


def _listed_classes(path: Path, stems: dict[str, list[PictureFile]]) -> dict[str, list[PictureFile]]:
    wanted = read_yaml(path)
    if not wanted or not all(isinstance(names, list) and names for names in wanted.values()):
        raise DataError(f"{path} must map class names to lists of file-name stems.")
    named = [str(stem) for names in wanted.values() for stem in names]
    absent = sorted(set(named) - set(stems))
    twice = sorted({stem for stem in named if named.count(stem) > 1})
    if absent or twice:
        problem = f"names stems that no file has: {listed(absent)}" if absent else f"names stems twice: {listed(twice)}"
        raise DataError(f"{path} {problem}.")
    return {str(name): [picture for stem in names for picture in stems[str(stem)]] for name, names in wanted.items()}
