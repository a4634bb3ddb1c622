import shutil

import numpy as np
import pytest
from PIL import Image

from datg.data.catalog import open_dataset
from datg.data.importing.images import decode_image
from datg.data.raw_data import RefusedExample
from datg.errors import ConfigError, DataError


def picture(seed, size=(40, 30), mode="RGB"):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, size=(size[1], size[0], 3)).astype(np.uint8)).convert(mode)


@pytest.fixture
def raw(tmp_path):
    """Six classes of six pictures."""
    for class_ in range(6):
        folder = tmp_path / "raw" / f"class {class_}"
        folder.mkdir(parents=True)
        for index in range(6):
            picture(class_ * 100 + index).save(folder / f"{index}.png")
    return tmp_path / "raw"


@pytest.fixture
def import_small(bring_in):
    """Six small classes: two of each part."""

    def act(raw, **settings):
        return bring_in(
            raw, **{"form": "folder", "protocol": "random", "image_size": 16, "min_examples": 4, **settings}
        )

    return act


def report_of(dataset):
    return dataset.table.description["report"]


def test_every_picture_arrives_in_its_class(raw, import_small, tmp_path):
    dataset = import_small(raw)
    assert dataset.table.names == tuple(f"class {i}" for i in range(6))
    expected = np.stack([decode_image(raw / f"class {c}" / f"{i}.png", size=16) for c in range(6) for i in range(6)])
    assert (dataset.table.examples == expected).all()
    assert open_dataset("mine", tmp_path / "data").split == dataset.split


def test_importing_again_gives_the_same_fingerprint_and_other_options_another(raw, import_small):
    first = import_small(raw).table.fingerprint
    assert import_small(raw).table.fingerprint == first
    assert import_small(raw, image_size=20).table.fingerprint != first


def test_duplicates_are_kept_once_inside_a_class_and_dropped_across_classes(raw, import_small):
    shutil.copy(raw / "class 0" / "0.png", raw / "class 0" / "copy.png")
    shutil.copy(raw / "class 1" / "1.png", raw / "class 2" / "copy.png")
    dropped = import_small(raw)
    assert dict(zip(dropped.table.names, dropped.table.counts.tolist(), strict=True)) == {
        "class 0": 6, "class 1": 5, "class 2": 6, "class 3": 6, "class 4": 6, "class 5": 6,
    }  # fmt: skip
    report = report_of(dropped)
    assert report["duplicates inside a class"] == 1
    assert report["examples in several classes"] == 1 and report["copies across classes dropped"] == 2
    kept = import_small(raw, duplicates="keep")
    assert kept.table.counts.tolist() == [6, 6, 7, 6, 6, 6]


def test_refused_files_are_listed_with_the_reason_and_the_rest_is_kept(raw, import_small, monkeypatch):
    monkeypatch.setattr("datg.data.importing.images.PIXEL_LIMIT", 5000)
    folder = raw / "class 0"
    (folder / "a.txt").write_text("no picture")
    (folder / "b.png").write_bytes(b"")
    (folder / "c.png").write_bytes((folder / "0.png").read_bytes()[:200])
    picture(1, size=(100, 51)).save(folder / "d.png")
    (folder / ".hidden").write_text("passed over")
    dataset = import_small(raw)
    reasons = report_of(dataset)["refused"]
    assert list(reasons) == [f"class 0/{name}" for name in ("a.txt", "b.png", "c.png", "d.png")]
    assert reasons["class 0/a.txt"] == "not a picture" and reasons["class 0/b.png"] == "empty file"
    assert reasons["class 0/c.png"].startswith("damaged picture")
    assert reasons["class 0/d.png"] == "100 x 51 pixels are over the limit of 5,000"
    assert dataset.table.counts[0] == 6


def test_a_class_that_refused_files_make_too_small_is_left_out(raw, import_small):
    for index in range(3):
        (raw / "class 3" / f"{index}.png").write_text("broken")
    dataset = import_small(raw, validation_classes=1)
    assert "class 3" not in dataset.table.names and report_of(dataset)["classes kept"] == 5


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("cmyk.jpg", lambda path: picture(0, mode="CMYK").save(path)),
        ("grey.png", lambda path: picture(0, mode="L").save(path)),
        ("palette.gif", lambda path: picture(0).quantize(8).save(path)),
        ("alpha.png", lambda path: picture(0, mode="RGBA").save(path)),
        ("bilevel.png", lambda path: picture(0, mode="1").save(path)),
        ("photo.webp", lambda path: picture(0).save(path)),
        ("scan.tiff", lambda path: picture(0).save(path)),
    ],
)
def test_any_usual_picture_becomes_rgb(tmp_path, name, save):
    save(tmp_path / name)
    decoded = decode_image(tmp_path / name, size=24)
    assert decoded.shape == (3, 24, 24) and decoded.dtype == np.uint8
    assert decoded.std() > 0


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    decoded = decode_image(tmp_path / "deep.png", size=64, white=65535)
    np.testing.assert_allclose(decoded[0], ramp >> 8, atol=1)


def test_rotation_is_applied_transparency_is_white_and_of_an_animation_the_first_frame_is_taken(tmp_path):
    half = Image.new("RGB", (20, 20))
    half.paste((255, 0, 0), (0, 0, 20, 10))  # red on top
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    half.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = decode_image(tmp_path / "turned.jpg", size=20)
    assert turned[0, 17].mean() > 200 > 50 > turned[0, 2].mean()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode_image(tmp_path / "clear.png", size=20) == 255).all()
    frames = [Image.new("L", (20, 20), value) for value in (200, 10)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert (decode_image(tmp_path / "film.gif", size=20) == 200).all()


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).random((20, 20)).astype(np.float32)).save(tmp_path / "x.tiff")
    with pytest.raises(RefusedExample, match="no known range"):
        decode_image(tmp_path / "x.tiff", size=20)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"raw": "missing"}, DataError, "does not exist; check the path"),
        ({"raw": "empty"}, DataError, "holds no class folders with files"),
        ({"min_examples": 50}, DataError, r"at least 50 usable examples \(the largest has 6\); lower --min-examples"),
        (
            {"protocol": "dermnet-s"},
            DataError,
            "needs at least 88 classes .* --min-examples: 1: 6, 2: 6, 5: 6, 10: 0",
        ),
        ({"protocol": "dermnet"}, ConfigError, "did you mean `dermnet-s`?"),
        ({"form": "zip"}, ConfigError, "`zip` is not a known form"),
        ({"base_classes": 9}, DataError, "needs 9 base"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(raw, import_small, tmp_path, changes, error, message):
    (tmp_path / "empty" / "class").mkdir(parents=True)
    where = tmp_path / changes.pop("raw") if "raw" in changes else raw
    with pytest.raises(error, match=message):
        import_small(where, **changes)
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").iterdir())


def test_a_failed_import_leaves_the_earlier_data_set(raw, import_small, tmp_path):
    first = import_small(raw).table.fingerprint
    with pytest.raises(DataError):
        import_small(raw, base_classes=9)
    assert open_dataset("mine", tmp_path / "data").table.fingerprint == first
    assert len(list((tmp_path / "data" / "mine").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.real_data
def test_dermnet_pictures_make_the_paper_protocol(real_data, bring_in):
    dataset = bring_in(real_data / "dermnet", protocol="dermnet-s", min_examples=20)
    report = report_of(dataset)
    assert (report["examples found"], report["classes found"], report["classes kept"]) == (8075, 353, 103)
    assert report["examples in several classes"] == 488 and report["refused"] == {}
    assert [len(dataset.part(part)) for part in ("base", "validation", "novel")] == [30, 20, 53]
    assert dataset.table.counts.min() >= 20
