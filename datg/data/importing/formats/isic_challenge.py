"""ISIC 2018 task 3 and ISIC 2019 as the challenges give them: a folder of pictures, one-hot labels in a CSV, lesions if known."""

from dataclasses import dataclass
from pathlib import Path

from datg.data.import_settings import ImportSettings
from datg.data.importing.labelled import Label, label_pictures, pictures_in, read_table, tables_in
from datg.data.raw_data import RawData, Workplace, listed
from datg.errors import DataError

FORM = "ISIC 2018 task 3 or ISIC 2019"


@dataclass(frozen=True)
class Edition:
    """Name the files and labels of one year of the challenge.

    Attributes:
        pictures: the folder.
        truth: the CSV of labels, without suffix.
        lesions: the CSV that names the lesion of a picture, where it is known.
        diagnoses: its columns of labels.
        every_lesion: whether the lesion of every picture is known.
    """

    pictures: str
    truth: str
    lesions: str
    diagnoses: tuple[str, ...]
    every_lesion: bool = True


EDITIONS = (
    Edition(
        "ISIC2018_Task3_Training_Input",
        "ISIC2018_Task3_Training_GroundTruth",
        "ISIC2018_Task3_Training_LesionGroupings.csv",
        ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"),
    ),
    Edition(
        "ISIC_2019_Training_Input",
        "ISIC_2019_Training_GroundTruth",
        "ISIC_2019_Training_Metadata.csv",
        ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"),
        every_lesion=False,
    ),
)
IN_EVERY_EDITION = ("image", "MEL", "NV", "BCC")


def recognise(raw: Path) -> bool:
    """Return whether the folder of pictures of some edition is there."""
    return _edition(raw) is not None


def near_miss(raw: Path) -> str:
    """Return what is missing where labels are there."""
    tables = tables_in(raw, IN_EVERY_EDITION) or [
        raw / edition.truth for edition in EDITIONS if (raw / edition.truth).exists()
    ]
    if not tables:
        return ""
    folders = " or ".join(edition.pictures for edition in EDITIONS)
    return f"{raw} looks like ISIC ({tables[0].name}), but its pictures must lie in a folder {folders}"


def _edition(raw: Path) -> Edition | None:
    return next((edition for edition in EDITIONS if (raw / edition.pictures).is_dir()), None)


def read(raw: Path, settings: ImportSettings, work: Workplace) -> RawData:
    """Read labels and lesions and find the pictures.

    Raises:
        DataError: the labels are missing, lack columns or are not one-hot, or pictures and labels do not fit.
    """
    edition = _edition(raw)
    if edition is None:
        raise DataError(f"{raw} must hold the folder {' or '.join(edition.pictures for edition in EDITIONS)}.")
    table = _find(raw, edition, edition.lesions)
    needed, optional = (("image", "lesion_id"), ()) if edition.every_lesion else (("image",), ("lesion_id",))
    rows = () if table is None else read_table(table, needed, may_be_empty=optional)
    lesions = {row["image"]: row["lesion_id"] for row in rows}
    truth = _find(raw, edition, f"{edition.truth}.csv")
    if truth is None:
        raise DataError(f"{raw} must hold {edition.truth}/{edition.truth}.csv beside the pictures.")
    labels, wrong, diagnoses = [], [], edition.diagnoses
    for row in read_table(truth, ("image", *diagnoses)):
        chosen = [name for name in diagnoses if row[name] in ("1", "1.0")]
        zeros = [name for name in diagnoses if row[name] in ("0", "0.0")]
        if len(chosen) != 1 or len(zeros) != len(diagnoses) - 1:
            wrong.append(row["image"])
        else:
            labels.append(Label(row["image"], chosen[0], lesions.get(row["image"], "")))
    if wrong:
        raise DataError(f"every line of {truth} must hold one 1 and zeros; wrong: {listed(wrong)}.")
    classes = label_pictures(pictures_in([raw / edition.pictures]), labels, raw, settings.image_size)
    return RawData(classes, shape=(3, settings.image_size, settings.image_size))


def _find(raw: Path, edition: Edition, name: str) -> Path | None:
    """Return the file ``name`` in ``raw`` or in a folder of ``raw`` that is called alike."""
    places = (raw / name, raw / edition.truth / name, raw / Path(name).stem / name)
    return next((path for path in places if path.is_file()), None)
