"""Pictures that a JSON file lists by class: {"eczema": ["a.jpg", "b/c.png"], ...}, paths relative to the file."""

import json
from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.images import PictureFile
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "JSON lists of pictures"
FORM_EXAMPLE = '{"eczema": ["a.jpg", "b/c.png"]}.'


def recognise(raw: Path) -> bool:
    """Return whether ``raw`` is a .json file."""
    return raw.is_file() and raw.suffix.lower() == ".json"


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """List the pictures of every class.

    Raises:
        DataError: the file is no JSON object of lists, or a picture that is listed is not there.
    """
    try:
        lists = json.loads(raw.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{raw} is no JSON: {error}. It should look like {FORM_EXAMPLE}") from error
    if not isinstance(lists, dict) or not all(isinstance(names, list) for names in lists.values()):
        raise DataError(f"{raw} must map names of classes to lists of pictures, as in {FORM_EXAMPLE}")
    missing = [name for names in lists.values() for name in names if not (raw.parent / name).is_file()]
    if missing:
        raise DataError(f"{raw} lists pictures that are not there: {listed(missing)}.")
    classes = {
        label: [PictureFile.of(raw.parent / name, raw.parent, settings.image_size) for name in names]
        for label, names in lists.items()
    }
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))
