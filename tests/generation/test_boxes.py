import numpy as np
import pytest
import torch

from datg.generation.boxes import areas, box_masks, cutmix_boxes, erasing_boxes


def test_masks_are_the_boxes():
    boxes = np.array([[1, 3, 0, 4], [0, 0, 2, 5]])
    masks = box_masks(torch.from_numpy(boxes), 4, 6)
    expected = torch.zeros(2, 4, 6, dtype=torch.bool)
    expected[0, 1:3, 0:4] = True
    assert torch.equal(masks, expected)
    np.testing.assert_allclose(areas(boxes, 4, 6), masks.float().mean((1, 2)).numpy())


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_cutmix_boxes_have_sides_of_the_root_of_their_share_and_are_cut_off_at_the_border(share):
    boxes = cutmix_boxes(np.full(500, share), 20, 12, np.random.default_rng(0))
    assert (boxes >= 0).all() and (boxes <= [20, 20, 12, 12]).all()
    heights, widths = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    assert heights.max() == int(20 * share**0.5) and widths.max() == int(12 * share**0.5)
    if share == 0.25:  # the centre is uniform: some boxes are whole, some are cut off
        assert 0 < (heights < 10).mean() < 1
    if share == 0:
        assert not areas(boxes, 20, 12).any()


def test_erasing_boxes_lie_inside_and_have_their_share_and_aspect():
    rng = np.random.default_rng(0)
    mixing_ratios, aspects = rng.uniform(0.02, 0.4, 500), rng.uniform(0.3, 1 / 0.3, 500)
    boxes = erasing_boxes(mixing_ratios, aspects, 84, 84, rng)
    assert (boxes >= 0).all() and (boxes <= 84).all()
    heights, widths = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    whole = (heights < 84) & (widths < 84)
    np.testing.assert_allclose((heights / widths)[whole], aspects[whole], rtol=0.2)
    assert np.abs(areas(boxes, 84, 84) - mixing_ratios)[whole].max() < 0.02
