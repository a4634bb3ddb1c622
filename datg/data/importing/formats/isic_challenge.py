"""ISIC 2018 task 3 as the challenge gives it: one folder of pictures, one-hot labels in a CSV, optional lesion groupings."""

from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.labelled import Label, label_pictures, pictures_in, read_table
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "ISIC 2018 task 3"
PICTURES = "ISIC2018_Task3_Training_Input"
TRUTH = "ISIC2018_Task3_Training_GroundTruth"
GROUPS = "ISIC2018_Task3_Training_LesionGroupings.csv"
DIAGNOSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def recognise(raw: Path) -> bool:
    """Return whether the folder of pictures is there."""
    return (raw / PICTURES).is_dir()


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read labels and lesions and find the pictures.

    Raises:
        DataError: the labels are missing, lack columns or are not one-hot, or pictures and labels do not fit.
    """
    if not recognise(raw):
        raise DataError(f"{raw} must hold the folder {PICTURES}.")
    lesions = {}
    groups = _find(raw, GROUPS)
    if groups is not None:
        lesions = {row["image"]: row["lesion_id"] for row in read_table(groups, ("image", "lesion_id"))}
    truth = _find(raw, f"{TRUTH}.csv")
    if truth is None:
        raise DataError(f"{raw} must hold {TRUTH}/{TRUTH}.csv beside the pictures.")
    labels, wrong = [], []
    for row in read_table(truth, ("image", *DIAGNOSES)):
        chosen = [name for name in DIAGNOSES if row[name] in ("1", "1.0")]
        zeros = [name for name in DIAGNOSES if row[name] in ("0", "0.0")]
        if len(chosen) != 1 or len(zeros) != len(DIAGNOSES) - 1:
            wrong.append(row["image"])
        else:
            labels.append(Label(row["image"], chosen[0], lesions.get(row["image"], "")))
    if wrong:
        raise DataError(f"every line of {truth} must have one 1 and else 0, but not: {listed(wrong)}.")
    classes = label_pictures(pictures_in([raw / PICTURES]), labels, raw, settings.image_size)
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))


def _find(raw: Path, name: str) -> Path | None:
    """Return the file ``name`` in ``raw`` or in a folder of ``raw`` that is called alike."""
    places = (raw / name, raw / TRUTH / name, raw / Path(name).stem / name)
    return next((path for path in places if path.is_file()), None)
