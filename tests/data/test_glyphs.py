import colorsys

import numpy as np
import pytest

from datg.data.catalog import open_dataset
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


def test_there_are_twenty_base_twelve_validation_and_twenty_novel_classes(glyphs):
    assert [len(glyphs.part(part)) for part in ("base", "validation", "novel")] == [20, 12, 20]
    assert glyphs.table.shape == (3, 28, 28) and set(glyphs.table.counts.tolist()) == {60}
    assert len(set(glyphs.table.names)) == 52
    assert len({name.split()[0] for name in glyphs.table.names}) >= 8, "characters of several scripts"


def test_the_hue_of_a_base_class_tells_its_group(glyphs):
    hues = background_hues(glyphs.part("base"))
    assert circular_spread(hues[:10].ravel()) < 0.1 and circular_spread(hues[10:].ravel()) < 0.1
    centres = [np.exp(2j * np.pi * hues[part]).mean() for part in (slice(10), slice(10, 20))]
    assert abs(centres[0] - centres[1]) > 1


@pytest.mark.parametrize("part", ["validation", "novel"])
def test_the_hue_of_other_classes_tells_nothing(glyphs, part):
    spread = circular_spread(background_hues(glyphs.part(part)))
    assert spread.min() > 0.6


def test_it_is_the_same_every_time(glyphs, tmp_path):
    again = open_dataset("glyphs", tmp_path)
    assert again.table.fingerprint == glyphs.table.fingerprint


def test_no_two_examples_are_equal(glyphs):
    assert len({example.tobytes() for example in glyphs.table.examples}) == len(glyphs.table.examples)


def test_an_unknown_data_set_lists_the_known_ones_and_how_to_import(data_root):
    with pytest.raises(DataError, match=r"known: glyphs\. Import it: python launchers/import_data.py skin"):
        open_dataset("skin", data_root)
