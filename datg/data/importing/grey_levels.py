"""Grey pictures of more than 8 bits: which value is white.

A file may say it itself: PNG by its sBIT chunk, TIFF by 9 to 15 bits a sample or its MaxSampleValue. Where it does not, the
pictures of a data set decide together, by the fewest of 8, 10, 12, 14 and 16 bits that hold the largest value among them all: a
picture alone may be dark, and values of 0 to 255 in a file of 16 bits would come out black.
"""

import contextlib
import io
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from datg.data.importing.images import PictureFile, PictureSource, open_picture
from datg.data.raw_data import RawData

BITS = (8, 10, 12, 14, 16)
NEVER_DEEP = (".jpg", ".jpeg")  # not looked at: there are many, and their grey has 8 bits
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF
PNG_HEADER = 8 + 25  # bytes: signature and IHDR


def with_white(data: RawData, progress: Callable[[str, int, int], None], *, known: int | None = None) -> RawData:
    """Return ``data`` whose deep grey pictures know which value is white, and a remark on it.

    With ``known`` that is what other pictures of their data set decided on, for those that do not say it themselves.
    """
    pictures = [
        example
        for examples in data.classes.values()
        for example in examples
        if isinstance(example, PictureFile) and example.path.suffix.lower() not in NEVER_DEEP
    ]
    whites: dict[PictureFile, int] = {}
    largest: dict[PictureFile, int] = {}
    for number, picture in enumerate(pictures, 1):
        with (
            contextlib.suppress(Exception),
            open_picture(picture.path) as image,
        ):  # what is broken is refused when it is read
            if image.mode.startswith("I"):
                white = stated_white(image, picture.path)
                if white is None:
                    largest[picture] = int(np.asarray(image).max())
                else:
                    whites[picture] = white
        progress("looking at pictures", number, len(pictures))
    remarks = (
        [f"{len(whites)} grey pictures of more than 8 bits say themselves which value is white."] if whites else []
    )
    if largest:
        common = known or white_for(largest.values())
        whites |= dict.fromkeys(largest, common)
        remarks.append(
            f"{len(largest)} grey pictures of more than 8 bits do not say which value is white; {common} was taken for all, "
            + ("as at the import." if known else f"because their largest is {max(largest.values())}.")
        )
        data = replace(data, preparation=data.preparation.model_copy(update={"white": common}))
    if not whites:
        return data
    classes = {name: [_told(example, whites) for example in examples] for name, examples in data.classes.items()}
    return replace(data, classes=classes, remarks=(*data.remarks, *remarks))


def _told(example: Any, whites: dict[PictureFile, int]) -> Any:
    white = whites.get(example) if isinstance(example, PictureFile) else None
    return example if white is None else replace(example, white=white)


def white_for(values: Iterable[int]) -> int:
    """Return the largest value of the fewest bits that hold all of ``values``; of 16 bits where none do."""
    largest = max(values)
    return next((2**bits - 1 for bits in BITS if largest < 2**bits), 2 ** BITS[-1] - 1)


def own_white(file: io.BytesIO) -> int | None:
    """Return which value is white of a deep grey picture that says it; None for any other file."""
    with contextlib.suppress(Exception), open_picture(file) as image:  # what is broken is refused when it is read
        if image.mode.startswith("I"):
            return stated_white(image, file)
    return None


def stated_white(image: Image.Image, file: PictureSource) -> int | None:
    """Return which value is white, if the file says it."""
    if image.format == "PNG":
        bits = _significant_bits(file)
        return None if bits is None else 2**bits - 1
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        most = tags.get(MAX_SAMPLE_VALUE)
        if most is not None:
            return int(np.max(most))
        bits = int(np.max(tags.get(BITS_PER_SAMPLE, 16)))
        return 2**bits - 1 if 8 < bits < 16 else None
    return None


def _significant_bits(source: PictureSource) -> int | None:
    """Return the first number of the sBIT chunk of a PNG, which stands before the pixels."""
    with io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else source.open("rb") as file:
        file.seek(PNG_HEADER)
        while header := file.read(8):
            length, kind = struct.unpack(">I4s", header)
            if kind == b"sBIT":
                return file.read(1)[0]
            if kind == b"IDAT":
                return None
            file.seek(length + 4, 1)
    return None
