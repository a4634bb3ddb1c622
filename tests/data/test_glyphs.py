import colorsys
import itertools
import json
import shutil

import numpy as np
import pytest

from datg.data.catalog import open_dataset
from datg.data.glyphs import BASE_GROUPS, FONTS, NOVEL, VALIDATION, fonts_with, load_font
from datg.errors import DataError


def background_hues(table):
    """The hue of the border of each example's mean picture, `(classes, examples)`."""
    hues = []
    for start, count in zip(table.starts, table.counts, strict=True):
        examples = table.examples[start : start + count].astype(float) / 255
        border = np.concatenate([examples[:, :, 0], examples[:, :, -1]], axis=2).mean(2)
        hues.append([colorsys.rgb_to_hsv(*colour)[0] for colour in border])
    return np.array(hues)


def circular_spread(hues):
    """0 for equal hues, 1 for hues all around the circle."""
    return 1 - np.abs(np.exp(2j * np.pi * hues).mean(-1))


def test_there_are_forty_base_twelve_validation_and_twenty_novel_classes(glyphs):
    assert [len(glyphs.part(part)) for part in ("base", "validation", "novel")] == [40, 12, 20]
    assert glyphs.table.shape == (3, 20, 20) and set(glyphs.table.counts.tolist()) == {60}
    assert len(set(glyphs.table.names)) == 72
    assert len({name.split()[0] for name in glyphs.table.names}) >= 8, "characters of several scripts"


def test_the_hue_of_a_base_class_tells_its_group(glyphs):
    hues = background_hues(glyphs.part("base"))
    groups = hues.reshape(4, -1)
    assert all(circular_spread(group) < 0.1 for group in groups)
    centres = np.exp(2j * np.pi * groups).mean(1)
    assert all(abs(one - other) > 1 for one, other in itertools.combinations(centres, 2))


@pytest.mark.parametrize("part", ["validation", "novel"])
def test_the_hue_of_other_classes_tells_nothing(glyphs, part):
    spread = circular_spread(background_hues(glyphs.part(part)))
    assert spread.min() > 0.6


def test_it_is_the_same_every_time(glyphs, tmp_path):
    again = open_dataset("glyphs", tmp_path)
    assert again.table.fingerprint == glyphs.table.fingerprint


def rendering(font, character):
    return bytes(font.getmask(character))


def test_no_character_is_drawn_in_a_font_that_lacks_it():
    """A font's box for what it lacks is the same picture as for a Chinese character, which none has."""
    missing = {name: rendering(load_font(name, 40), "\u4e00") for name in FONTS}
    characters = "".join(BASE_GROUPS) + VALIDATION + NOVEL
    drawn = {(character, name): rendering(load_font(name, 40), character) for character in characters for name in FONTS}
    for character in characters:
        having = fonts_with(character)
        assert len(having) >= 2, character
        for name in FONTS:
            assert (drawn[character, name] == missing[name]) == (name not in having), (character, name)
        assert len({drawn[character, name] for name in having}) == len(having), "its fonts differ"
    assert any(len(fonts_with(character)) < len(FONTS) for character in characters), "the check has something to find"


def test_no_two_examples_are_equal(glyphs):
    assert len({example.tobytes() for example in glyphs.table.examples}) == len(glyphs.table.examples)


def test_a_table_that_another_version_drew_is_refused_and_left_as_it_is(glyphs, data_root, tmp_path):
    shutil.copytree(data_root / "glyphs", tmp_path / "glyphs")
    path = tmp_path / "glyphs" / "table.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "options": {}}))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"was drawn by another version of this package; .* mv .*glyphs"):
        open_dataset("glyphs", tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("skin", r"known: glyphs\. One of your own .* is imported first: datg import_data skin"),
        ("dermnt", r"known: glyphs. Did you mean dermnet\? One of your own"),
        ("generic_images", r"known: glyphs\. One of your own"),
        (
            "dermnet",
            r"come from https://.*\(forms: .*\): datg import_data dermnet RAW_FILES\n.*: glyphs\.$",
        ),
        ("isic", r"come from https://challenge.isic-archive.com"),
        ("tabula_muris", r"come from https://.*import_data tabula_muris"),
        ("mini_imagenet", r"come from https://.*import_data mini_imagenet"),
    ],
)
def test_a_missing_data_set_says_what_there_is_and_how_one_comes_by_it(name, said, tmp_path):
    with pytest.raises(DataError, match=said):
        open_dataset(name, tmp_path)
