"""The built-in data set: characters of eight scripts, with the false cue of the paper's Fig. 3.

Every example is a character in a random font that has it, place, size, slant and stroke, on a coloured background, with noise,
`(3, 20, 20)` uint8. Each *base* class belongs to one of four groups, and the group decides the hue of its background: a learner
that trains on tasks of all groups is rewarded for looking at colour. Validation and novel classes have random hues, so there
colour says nothing. Tasks of one group have no such cue, nor have their mixtures with tasks of another.
"""

import colorsys
import hashlib
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from datg.data.class_table import ClassTable, TableWriter
from datg.data.splits import Split
from datg.runtime.random_streams import derive_seed

BASE_GROUPS = ("RkΩλЖՁԺეשع", "GfπИШՀბყתس", "AMΨδЯԹԽმאم", "JyφЛЦՄდხצⵣ")
VALIDATION = "QξДფՖלكⵇbΣЮჯ"
NOVEL = "EaθФწՊטهⵖSмΞhБძքקنⵄζ"
EXAMPLES_PER_CLASS = 60
SIZE = 20
OVERSAMPLING = 2
GROUP_HUES = (0.02, 0.27, 0.52, 0.77)  # red, green, blue and purple
HUE_SPREAD = 0.04
NOISE = 0.05
OPTIONS = {"version": 2}  # one more whenever examples are drawn otherwise: an older table is another data set
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSans-BoldOblique.ttf")


def write(folder: Path) -> ClassTable:
    """Draw all examples (a few seconds; the same on every machine with the same Pillow) into ``folder``."""
    base = "".join(BASE_GROUPS)
    group_of = {character: group for group, text in enumerate(BASE_GROUPS) for character in text}
    with TableWriter(folder, shape=(3, SIZE, SIZE), dtype="uint8") as writer:
        for character in base + VALIDATION + NOVEL:
            rng = np.random.default_rng(derive_seed(0, "glyphs", character))
            for index in range(EXAMPLES_PER_CLASS):
                example = _draw(character, group_of.get(character), rng)
                digest = hashlib.sha256(example.tobytes()).digest()
                writer.add(example, class_name=_name(character), source=f"{character}/{index}", sha256=digest)
        split = Split(
            protocol="built-in",
            base=[_name(character) for character in base],
            validation=[_name(character) for character in VALIDATION],
            novel=[_name(character) for character in NOVEL],
        )
        return writer.finish({"importer": "glyphs", "options": OPTIONS, "split": split.model_dump()})


def _name(character: str) -> str:
    return unicodedata.name(character).lower()


def _font_file(name: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@cache
def fonts_with(character: str) -> list[str]:
    """Return the fonts that have a character, by their own tables: the others would draw an empty box."""
    return [name for name in FONTS if ord(character) in _characters(name)]


@cache
def _characters(font: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_font_file(font)).get_charmap())


@cache
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font of matplotlib's at a ``size`` in pixels."""
    return ImageFont.truetype(str(_font_file(name)), size)


def _draw(character: str, group: int | None, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return one example `(3, side, side)`; ``group`` decides the hue of the background, None draws it at random."""
    hue = rng.uniform() if group is None else (GROUP_HUES[group] + rng.normal(0, HUE_SPREAD)) % 1.0
    side = SIZE * OVERSAMPLING
    fonts = fonts_with(character)
    font = load_font(fonts[rng.integers(len(fonts))], int(side * rng.uniform(0.6, 0.85)))
    mask = Image.new("L", (side, side))
    centre = side / 2 + rng.uniform(-0.08, 0.08, size=2) * side
    ImageDraw.Draw(mask).text(
        tuple(centre), character, fill=255, font=font, anchor="mm", stroke_width=int(rng.integers(0, 2))
    )
    slant, turn = rng.uniform(-0.2, 0.2), rng.uniform(-0.1, 0.1)
    affine = (1.0, slant, -slant * side / 2, turn, 1.0, -turn * side / 2)
    mask = mask.transform(mask.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    ink = np.asarray(mask.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float64)[..., None] / 255
    background = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9)))
    foreground = np.full(3, rng.uniform(0.0, 0.25) if rng.uniform() < 0.5 else rng.uniform(0.85, 1.0))
    picture = background * (1 - ink) + foreground * ink + rng.normal(0, NOISE, size=(SIZE, SIZE, 3))
    return np.ascontiguousarray((picture.clip(0, 1) * 255).round().astype(np.uint8).transpose(2, 0, 1))
