"""Turns any picture that Pillow reads into a small RGB array, or says why not."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from datg.data.raw_data import RefusedExample

PictureSource = Path | io.BytesIO
PIXEL_LIMIT = 100_000_000  # a decoded picture of that size takes 300 MB

# What may decode a file: Pillow would try everything it knows, PostScript by a program of the machine among it.
DECODERS = ("JPEG", "JPEG2000", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, eq=False)
class PictureFile:
    """Hold a picture in a file of its own.

    Attributes:
        source: its path below the raw folder.
        size: side of the picture when read.
        group: what pictures of one group share.
        white: the value that is white, of grey with more than 8 bits; None where it is not known, or has 8.
    """

    path: Path
    source: str
    size: int
    group: str = ""
    white: int | None = None

    @classmethod
    def of(cls, path: Path, raw: Path, size: int, group: str = "") -> "PictureFile":
        """Return the picture at ``path`` below ``raw``."""
        return cls(path, path.relative_to(raw).as_posix(), size, group)

    def digest(self) -> bytes:
        """Return the SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def read(self) -> npt.NDArray[Any]:
        """Return the picture as `(3, size, size)` uint8; see :func:`decode_image`."""
        return decode_image(self.path, size=self.size, white=self.white)


def open_picture(file: PictureSource) -> Image.Image:
    """Open a picture with the decoders of :data:`DECODERS` alone.

    Raises:
        Exception: whatever a decoder raises.
    """
    return Image.open(file, formats=DECODERS)


def decode_image(file: PictureSource, *, size: int, white: int | None = None) -> npt.NDArray[Any]:
    """Return the whole picture as `(3, size, size)` uint8.

    EXIF rotation is applied, transparency is laid on white, grey of more than 8 bits is scaled to 8, of an animation the first
    frame is taken, and the picture is resized (Lanczos) without keeping its aspect ratio or cropping.

    Args:
        file: its path, or its bytes.
        size: side in pixels.
        white: the value that is white, of grey with more than 8 bits.

    Raises:
        RefusedExample: not a picture, truncated, empty, more than PIXEL_LIMIT pixels, or of an unknown value range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_picture(file) as image:
                if image.width * image.height > PIXEL_LIMIT:
                    raise RefusedExample(f"{image.width} x {image.height} pixels are over the limit of {PIXEL_LIMIT:,}")
                rgb = _to_rgb(ImageOps.exif_transpose(image), white)
    except Image.DecompressionBombError:
        raise RefusedExample(f"over the limit of {PIXEL_LIMIT:,} pixels") from None
    except UnidentifiedImageError:
        length = len(file.getvalue()) if isinstance(file, io.BytesIO) else file.stat().st_size
        raise RefusedExample("not a picture" if length else "empty file") from None
    except RefusedExample:
        raise
    except Exception as error:  # a broken file may raise anything in a decoder; one file must not end an import
        raise RefusedExample(f"damaged picture: {error}") from None
    return shrink(rgb, size)


def shrink(rgb: Image.Image, size: int) -> npt.NDArray[Any]:
    """Return an RGB picture as `(3, size, size)` uint8, resized (Lanczos) if it has another size."""
    resized = rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def _to_rgb(image: Image.Image, white: int | None) -> Image.Image:
    image.load()
    if image.mode == "F":
        raise RefusedExample("floating-point pixels have no known range")
    if image.mode.startswith("I"):  # more than 8 bits, which Pillow would clip and not scale
        values = np.asarray(image).astype(np.int64)
        if white is None:
            raise RefusedExample("grey of more than 8 bits whose white is not known")
        if values.min() < 0 or values.max() > white:
            raise RefusedExample(f"values of {values.min()} to {values.max()}, outside 0 to {white}")
        return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, rgba).convert("RGB")
    return image.convert("RGB")
