"""Test views: the grid of Sect. 3.2, written out by hand."""

import numpy as np
import pytest
from PIL import Image

from vgg_sweep.images.views.crops import origins, rescaled, views


def test_the_grid_of_a_256_by_341_image() -> None:
    grid = origins("multi-crop", 256, 341, 224)
    assert len(set(grid)) == 25
    assert sorted({y for y, _ in grid}) == [0, 8, 16, 24, 32]
    assert sorted({x for _, x in grid}) == [
        0,
        29,
        59,
        88,
        117,
    ]  # 117 / 4 = 29.25, rounded
    assert {(0, 0), (0, 117), (32, 0), (32, 117)} <= set(grid)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (256, 341), (500, 240), (1000, 224)])
def test_crops_stay_inside_and_cover_all_corners(height: int, width: int) -> None:
    seen = np.zeros((height, width), dtype=bool)
    for y, x in origins("multi-crop", height, width, 224):
        assert 0 <= y <= height - 224 and 0 <= x <= width - 224
        seen[y : y + 224, x : x + 224] = True
    assert seen[0, 0] and seen[0, -1] and seen[-1, 0] and seen[-1, -1]


def test_the_centre_crop_is_the_middle_one_of_the_grid() -> None:
    assert origins("centre-crop", 256, 320, 224) == [(16, 48)]
    assert origins("multi-crop", 256, 320, 224)[12] == (16, 48)


def test_ten_crop_is_four_corners_and_the_centre() -> None:
    assert origins("ten-crop", 256, 288, 224) == [
        (0, 0),
        (0, 64),
        (32, 0),
        (32, 64),
        (16, 32),
    ]


def test_rescaling_keeps_the_aspect_and_sets_the_smallest_side() -> None:
    image = Image.new("RGB", (500, 375))
    assert rescaled(image, 256).shape == (256, 341, 3)
    assert rescaled(image.transpose(Image.Transpose.ROTATE_90), 256).shape == (
        341,
        256,
        3,
    )


def test_views_hold_the_pixels_of_their_place() -> None:
    image = np.arange(40 * 48 * 3).reshape(40, 48, 3)
    crops = views(image, "multi-crop", 32)
    for crop, (y, x) in zip(crops, origins("multi-crop", 40, 48, 32), strict=True):
        assert np.array_equal(crop, image[y : y + 32, x : x + 32])
    assert np.array_equal(views(image, "dense", 32), image[None])
