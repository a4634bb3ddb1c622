"""What people's folders hold: grey of more than 8 bits, pictures of one colour, programs under other names, system files, names
that look alike, too few classes for the usual split.
"""

import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

from datg.data.class_names import as_known, normal
from datg.data.import_settings import ImportSettings
from datg.data.importing.grey_levels import stated_white, white_for
from datg.data.importing.images import PictureFile, decode_image, open_picture
from datg.data.importing.run import ImportRequest, import_raw
from datg.data.protocols.random import proportional
from datg.data.raw_data import RefusedExample
from datg.data.splits import TaskSize, check_tasks
from datg.errors import DataError
from tests.data.importing.raw_forms import WRITERS, stock

GENERATED = stock(None)


def grey(seed, most, dtype=np.uint16):
    return np.random.default_rng(seed).integers(0, most + 1, size=(20, 20)).astype(dtype)


def save_png(values, path, bits=None):
    """A PNG of 16 bits, with the chunk that says how many of them count."""
    Image.fromarray(values).save(path)
    if bits is not None:
        content = path.read_bytes()
        chunk = b"sBIT" + bytes([bits])
        whole = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(content[:33] + whole + content[33:])


@pytest.fixture
def raw_of(tmp_path):
    """Writes classes of pictures by ``save(values, path)``."""

    def act(save, most, *, classes=6, name="png", dtype=np.uint16):
        for class_ in range(classes):
            folder = tmp_path / "raw" / f"class {class_}"
            folder.mkdir(parents=True)
            for index in range(4):
                save(grey(10 * class_ + index, most, dtype), folder / f"{index}.{name}")
        return tmp_path / "raw"

    return act


@pytest.fixture
def import_small(bring_in):
    def act(raw, **settings):
        return bring_in(raw, **{"protocol": "random", "image_size": 20, "min_examples": 4, **settings})

    return act


@pytest.mark.parametrize(
    ("most", "name", "dtype", "white"),
    [
        (255, "png", np.uint16, 255),
        (255, "tiff", np.int32, 255),
        (4095, "png", np.uint16, 4095),
        (60000, "png", np.uint16, 65535),
    ],
)
def test_grey_of_more_than_8_bits_takes_its_white_from_the_data_set(raw_of, import_small, most, name, dtype, white):
    raw = raw_of(lambda values, path: Image.fromarray(values).save(path), most, name=name, dtype=dtype)
    dataset = import_small(raw)
    assert (dataset.table.examples[0, 0] == np.round(grey(0, most, dtype) * (255 / white))).all()
    (remark,) = [line for line in dataset.split.remarks if "white" in line]
    assert f"24 grey pictures of more than 8 bits do not say which value is white; {white} was taken" in remark


def test_what_a_file_says_of_its_range_is_believed(raw_of, import_small):
    dataset = import_small(raw_of(lambda values, path: save_png(values, path, bits=12), 1000))
    assert (dataset.table.examples[0, 0] == np.round(grey(0, 1000) * (255 / 4095))).all()
    assert any("24 grey pictures of more than 8 bits say themselves" in line for line in dataset.split.remarks)


def test_a_tiff_says_its_range_by_bits_or_by_its_largest_value(tmp_path):
    Image.fromarray(grey(0, 1000)).save(tmp_path / "a.tiff", tiffinfo={281: 1023})
    Image.fromarray(grey(0, 1000)).save(tmp_path / "b.tiff")
    with open_picture(tmp_path / "a.tiff") as stated, open_picture(tmp_path / "b.tiff") as silent:
        assert stated_white(stated, tmp_path / "a.tiff") == 1023
        assert stated_white(silent, tmp_path / "b.tiff") is None


@pytest.mark.parametrize(
    ("largest", "white"), [(0, 255), (255, 255), (256, 1023), (4095, 4095), (4096, 16383), (70000, 65535)]
)
def test_the_fewest_bits_that_hold_every_value_are_taken(largest, white):
    assert white_for([0, largest]) == white


def test_deep_grey_whose_white_is_not_known_is_refused_and_not_black(tmp_path):
    Image.fromarray(grey(0, 255)).save(tmp_path / "a.png")
    with pytest.raises(RefusedExample, match="whose white is not known"):
        decode_image(tmp_path / "a.png", size=20)
    with pytest.raises(RefusedExample, match="outside 0 to 100"):
        decode_image(tmp_path / "a.png", size=20, white=100)


def test_pictures_of_one_colour_are_counted_and_a_class_of_them_is_refused(raw_of, import_small):
    raw = raw_of(lambda values, path: Image.fromarray(values.astype(np.uint8)).save(path), 255)
    flat = Image.new("RGB", (20, 20), (9, 9, 10))
    flat.save(raw / "class 1" / "0.png")
    assert any(
        "1 pictures have (nearly) one colour, for instance class 1/0.png" in r for r in import_small(raw).split.remarks
    )
    for index in range(4):
        Image.new("RGB", (20, 20), (index, 0, 0)).save(raw / "class 1" / f"{index}.png")
    with pytest.raises(DataError, match="all 4 pictures of class 1 have .nearly. one colour"):
        import_small(raw)


@pytest.mark.parametrize(
    "content",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"#FIG 3.2", b"\xd7\xcd\xc6\x9a" + bytes(40), b"%PDF-1.4"],
)
def test_only_decoders_of_pictures_see_a_file_whatever_it_is_called(tmp_path, content, monkeypatch):
    def ran(*arguments, **options):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", ran)
    (tmp_path / "holiday.jpg").write_bytes(content)
    with pytest.raises(RefusedExample, match="not a picture"):
        decode_image(tmp_path / "holiday.jpg", size=16)


def test_system_files_are_passed_over_and_links_followed_and_both_are_said(raw_of, import_small, tmp_path):
    raw = raw_of(lambda values, path: Image.fromarray(values.astype(np.uint8)).save(path), 255)
    for place in ("class 0/@eaDir/0.png", "class 0/.thumbs", "@eaDir", "__MACOSX/class 0"):
        (raw / place).mkdir(parents=True)
        Image.fromarray(grey(77, 255, np.uint8)).save(raw / place / "thumb.png")
    (raw / "class 1" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "more").mkdir()
    Image.fromarray(grey(99, 255, np.uint8)).save(tmp_path / "more" / "5.png")
    (raw / "class 2" / "linked").symlink_to(tmp_path / "more")
    (raw / "class 2" / "round").symlink_to(raw / "class 2")
    dataset = import_small(raw, form="folder")
    assert dict(zip(dataset.table.names, dataset.table.counts.tolist(), strict=True)) == {
        f"class {n}": 5 if n == 2 else 4 for n in range(6)
    }
    remarks = "\n".join(dataset.split.remarks)
    assert "4 hidden and system files and folders were skipped" in remarks
    assert "1 linked folders were followed, for instance class 2/linked." in remarks


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (unicodedata.normalize("NFC", "nævus café"), unicodedata.normalize("NFD", "nævus café")),
        ("Acne", "Acne "),
        ("STRASSE", "straße"),
    ],
)
def test_names_that_mean_one_class_are_not_two(one, other, raw_of, import_small):
    assert normal(one) == normal(other)
    raw = raw_of(lambda values, path: Image.fromarray(values.astype(np.uint8)).save(path), 255)
    (raw / "class 0").rename(raw / one)
    (raw / "class 1").rename(raw / other)
    if len(list(raw.iterdir())) < 6:
        pytest.skip("this file system takes both names for one")
    with pytest.raises(DataError, match="or Unicode form, but these do not"):
        import_small(raw)


def test_lists_find_classes_by_what_they_mean(raw_of, import_small, tmp_path):
    assert as_known(["cafe\u0301", "none"], ["café", "tea"]) == ["café", "none"]
    raw = raw_of(lambda values, path: Image.fromarray(values.astype(np.uint8)).save(path), 255)
    (raw / "class 0").rename(raw / "nævus café")
    names = ["nævus cafe\u0301", "CLASS 1", " class 2 ", "class 3", "class 4", "class 5"]
    lines = [
        f"{part}: ['{a}', '{b}']"
        for part, a, b in zip(("base", "validation", "novel"), names[::2], names[1::2], strict=True)
    ]
    (tmp_path / "split.yaml").write_text("\n".join(lines))
    dataset = import_small(raw, protocol="file", split_file=tmp_path / "split.yaml")
    assert dataset.split.base == ["nævus café", "class 1"] and dataset.split.validation[0] == "class 2"


@pytest.mark.parametrize(
    ("classes", "ways", "parts"),
    [
        (38, 5, (14, 9, 15)),
        (20, 5, (10, 5, 5)),
        (15, 5, (5, 5, 5)),
        (16, 5, (5, 5, 6)),
        (51, 5, (19, 12, 20)),
        (9, 3, (3, 3, 3)),
    ],
)
def test_fewer_classes_are_split_in_proportion(classes, ways, parts):
    found = proportional((20, 12, 20), classes, ways)
    assert found == parts and sum(found) == classes and min(found) >= ways


def test_every_number_of_classes_that_suffices_gives_every_part_its_ways():
    for ways in (2, 3, 5, 10):
        for classes in range(3 * ways, 60):
            parts = proportional((20, 12, 20), classes, ways)
            assert sum(parts) == classes and min(parts) >= ways and (classes < 4 * ways or parts[0] >= 2 * ways)
        with pytest.raises(DataError, match="too few for"):
            proportional((20, 12, 20), 3 * ways - 1, ways)


def test_a_small_data_set_is_split_and_it_is_said_how_and_before_anything_is_decoded(raw_of, tmp_path, monkeypatch):
    raw = raw_of(lambda values, path: Image.fromarray(values.astype(np.uint8)).save(path), 255, classes=15)

    def bring_in(ways, **settings):
        chosen = ImportSettings(min_examples=4, image_size=20, **settings)
        request = ImportRequest(name="mine", raw=raw, settings=chosen, task=TaskSize(ways=ways, queries=3))
        return import_raw(request, tmp_path / "data", notify=lambda text: None, progress=lambda *_: None)

    split = bring_in(5).split
    assert [len(split.part(part)) for part in ("base", "validation", "novel")] == [5, 5, 5]
    assert any("were split into 5 base + 5 validation + 5 novel; --base-classes" in line for line in split.remarks)
    read = []
    monkeypatch.setattr(PictureFile, "read", lambda self: read.append(self))
    with pytest.raises(DataError, match="15 classes are too few for 6-way tasks in three parts; give --ways 5"):
        bring_in(6)
    with pytest.raises(DataError, match="protocol random needs 20 base"):
        bring_in(5, base_classes=20)
    assert read == []


@pytest.mark.parametrize("name", ["HAM10000_metadata.tab", "HAM10000_metadata", "meta.csv"])
def test_the_metadata_of_ham10000_are_known_by_their_columns(name, tmp_path, bring_in):
    raw = WRITERS["ham10000"](tmp_path / "raw", GENERATED).raw
    text = (raw / "HAM10000_metadata.csv").read_text()
    (raw / "HAM10000_metadata.csv").unlink()
    (raw / name).write_text(text.replace(",", "\t") if name.endswith(".tab") else text)
    (raw / "HAM10000_images_part_1").rename(raw / "one")
    (raw / "HAM10000_images_part_2").rename(raw / "two")
    dataset = bring_in(raw, protocol="random")
    assert dataset.table.description["importer"] == "ham10000" and "NV" in dataset.table.names


def test_isic_2019_is_read_with_its_eight_diagnoses(tmp_path, bring_in):
    diagnoses = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    raw, rows, lesions = tmp_path / "raw", [], []
    (raw / "ISIC_2019_Training_Input").mkdir(parents=True)
    for number in range(8 * 4):
        name = f"ISIC_{number:07d}"
        Image.fromarray(grey(number, 255, np.uint8)).save(raw / "ISIC_2019_Training_Input" / f"{name}.jpg")
        rows.append(",".join([name, *(f"{float(index == number // 4)}" for index in range(9))]))
        lesions.append(f"{name},50,anterior torso,{'' if number % 3 else f'lesion {number}'},male")
    table = "\n".join([",".join(["image", *diagnoses]), *rows])
    (raw / "ISIC_2019_Training_GroundTruth.csv").write_text(table)
    header = "image,age_approx,anatom_site_general,lesion_id,sex"
    (raw / "ISIC_2019_Training_Metadata.csv").write_text("\n".join([header, *lesions]))
    dataset = bring_in(raw)
    assert dataset.table.description["importer"] == "isic-challenge" and sorted(dataset.table.names) == sorted(
        diagnoses[:8]
    )


def lose_metadata(raw):
    (raw / "HAM10000_metadata.csv").unlink()


def lose_pictures(raw):
    (raw / "ISIC2018_Task3_Training_Input").rename(raw / "pictures")


def lose_lists(raw):
    for path in raw.glob("*.csv"):
        path.unlink()


@pytest.mark.parametrize(
    ("form", "lose", "missing"),
    [
        (
            "ham10000",
            lose_metadata,
            "looks like HAM10000 .HAM10000_images_part_1., but has no table with image_id, dx, lesion_id",
        ),
        ("isic-challenge", lose_pictures, "looks like ISIC .*, but its pictures must lie in a folder ISIC2018_Task3"),
        ("csv-lists", lose_lists, "looks like pictures in images/ with lists, but has none of train.csv"),
    ],
)
def test_a_form_that_is_nearly_recognised_says_what_is_missing(form, lose, missing, tmp_path, bring_in):
    raw = WRITERS[form](tmp_path / "raw", GENERATED).raw
    lose(raw)
    with pytest.raises(DataError, match=missing) as caught:
        bring_in(raw)
    assert "If its folders are classes, give --form folder" in str(caught.value)


def test_classes_are_left_out_by_name_and_those_that_look_like_none_are_offered(raw_of, import_small):
    raw = raw_of(lambda values, path: Image.fromarray(values.astype(np.uint8)).save(path), 255, classes=8)
    (raw / "class 0").rename(raw / "Unknown")
    (raw / "class 1").rename(raw / "n a")
    (remark,) = [line for line in import_small(raw).split.remarks if "Unknown" in line]
    assert remark == "classes are called Unknown; if these are none, import again with --exclude Unknown."
    dataset = import_small(raw, exclude=["unknown", "N A"])
    assert dataset.table.names == tuple(f"class {n}" for n in range(2, 8))
    with pytest.raises(
        DataError, match="`--exclude` names unknown classes: clas 2; the raw files have: Unknown, class 2"
    ):
        import_small(raw, exclude=["clas 2"])


def test_what_was_refused_is_not_blamed_on_the_smallest_number_of_examples(raw_of, import_small):
    raw = raw_of(lambda values, path: path.write_bytes(b"no picture" + values.tobytes()), 255)
    with pytest.raises(DataError, match="no class has at least 4 usable examples: too many were refused. 24 examples"):
        import_small(raw)


@pytest.mark.parametrize(
    ("smallest", "classes", "said", "unsaid"),
    [
        (3, 5, "at most 2", "--ways"),
        (1, 5, "--min-examples 16", "--queries"),
        (20, 3, "(--ways of an import) to 3.", "--min-examples"),
        (20, 1, "more classes or examples", "--ways"),
    ],
)
def test_what_is_advised_would_help(smallest, classes, said, unsaid):
    parts = {part: {f"class {n}": smallest for n in range(classes)} for part in ("base", "validation", "novel")}
    with pytest.raises(DataError) as caught:
        check_tasks(parts, ways=5, shots=1, queries=15)
    assert said in str(caught.value) and unsaid not in str(caught.value)


def test_the_lesions_of_isic_2018_must_all_be_named(tmp_path, bring_in):
    raw = WRITERS["isic-challenge"](tmp_path / "raw", GENERATED).raw
    table = raw / "ISIC2018_Task3_Training_LesionGroupings.csv"
    text = table.read_text()
    table.write_text(text.replace("lesion_id", "lesion"))
    with pytest.raises(DataError, match="lacks the columns lesion_id"):
        bring_in(raw)
    table.write_text(text.replace("HAM_MEL_0", ""))
    with pytest.raises(DataError, match="must have a value in image, lesion_id on every line"):
        bring_in(raw)
