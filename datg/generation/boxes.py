"""Rectangles in pictures: for CutMix (Yun et al. 2019) and random erasing (Zhong et al. 2020)."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def cutmix_boxes(area_fractions: Floats, height: int, width: int, rng: np.random.Generator) -> Integers:
    """Return `(*n, 4)` top, bottom, left, right of boxes that take ``area_fractions`` `(*n,)` of the area before they are cut.

    Each side is sqrt(share) of the picture's; the centre is uniform, and what lies outside the picture is cut off.
    """
    sides = []
    for length in (height, width):
        half = (length * np.sqrt(area_fractions)).astype(np.int64) / 2
        centre = rng.integers(0, length, size=area_fractions.shape)
        # Rounded so that a whole box has exactly the length that was asked for.
        sides += [np.floor(centre - half), np.floor(centre + half)]
    return _inside(np.stack(sides, axis=-1).astype(np.int64), height, width)


def erasing_boxes(
    area_fractions: Floats, aspects: Floats, height: int, width: int, rng: np.random.Generator
) -> Integers:
    """Return `(*n, 4)` top, bottom, left, right of boxes that lie within the picture.

    Args:
        area_fractions: `(*n,)` of the picture's area.
        aspects: `(*n,)` height over width; a side is at most the picture's.
        height: of the picture.
        width: likewise.
        rng: draws the place, uniform.
    """
    area = area_fractions * height * width
    sides = []
    for length, side in ((height, np.sqrt(area * aspects)), (width, np.sqrt(area / aspects))):
        extent = np.minimum(np.round(side), length).astype(np.int64)
        start = rng.integers(0, length - extent + 1)
        sides += [start, start + extent]
    return np.stack(sides, axis=-1)


def _inside(boxes: Integers, height: int, width: int) -> Integers:
    """Cut `(*n, 4)` boxes off at the borders."""
    return np.clip(boxes, 0, np.array([height, height, width, width]))


def areas(boxes: Integers, height: int, width: int) -> Floats:
    """Return `(*n,)` shares of the picture that boxes take."""
    covered = (boxes[..., 1] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 2])
    return covered / (height * width)


def box_masks(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return `(*n, height, width)` bool: which pixels lie in each of `(*n, 4)` boxes."""
    edges = boxes[..., None]
    rows, columns = (torch.arange(length, device=boxes.device) for length in (height, width))
    in_rows = (rows >= edges[..., 0, :]) & (rows < edges[..., 1, :])
    in_columns = (columns >= edges[..., 2, :]) & (columns < edges[..., 3, :])
    return in_rows[..., :, None] & in_columns[..., None, :]
