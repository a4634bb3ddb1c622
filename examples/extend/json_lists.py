"""Pictures that a JSON file lists by class: {"eczema": ["a.jpg", "b/c.png"], ...}, paths relative to the file."""

import json
from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.images import PictureFile
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "JSON lists of pictures"


def recognise(raw: Path) -> bool:
    """Return whether ``raw`` is a .json file."""
    return raw.is_file() and raw.suffix.lower() == ".json"


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """List the pictures of every class.

    Raises:
        DataError: a picture that is listed is not there.
    """
    lists = json.loads(raw.read_text(encoding="utf-8"))
    missing = [name for names in lists.values() for name in names if not (raw.parent / name).is_file()]
    if missing:
        raise DataError(f"{raw} lists pictures that are not there: {listed(missing)}.")
    classes = {
        label: [PictureFile.of(raw.parent / name, raw.parent, settings.image_size) for name in names]
        for label, names in lists.items()
    }
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))
