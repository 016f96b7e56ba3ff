"""Boxes carried through views: properties, and against the pixels of a painted rectangle."""

import numpy as np
import pytest
from PIL import Image

from vgg_sweep.config.localise import Localise
from vgg_sweep.config.schema import Config, TrainScale
from vgg_sweep.images.views.augment import training_view
from vgg_sweep.images.views.targets import Crop, Targets, box_of, targets_of, training_crop
from vgg_sweep.localise.boxes import Boxes

RNG = np.random.default_rng(0)


def boxes_of(*boxes: tuple[float, float, float, float]) -> Boxes:
    """Of one image of class 0."""
    return Boxes.of_lists([[(0, box) for box in boxes]], [(0, 0)])


def target(crop: Crop, *boxes: tuple[float, float, float, float], **settings: object) -> np.ndarray:
    localise = Localise(**settings)  # type: ignore[arg-type]
    [target_4] = Targets(boxes_of(*boxes), np.array([0]), localise, crop.side, crop.side).of(0, crop)
    return target_4


def random_crop(rng: np.random.Generator) -> Crop:
    size_px = (int(rng.integers(40, 300)), int(rng.integers(40, 300)))
    return training_crop(size_px, int(rng.integers(64, 128)), tuple(rng.random(2)), bool(rng.random() < 0.5), 64)


@pytest.mark.parametrize("seed", range(20))
def test_into_a_crop_and_back_is_the_same_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop, boxes_b4 = random_crop(rng), rng.uniform(-20, 320, (6, 4))
    np.testing.assert_allclose(crop.box_in_image(crop.box_in_crop(boxes_b4)), boxes_b4, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_a_flip_moves_the_centre_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = random_crop(rng)
    other = Crop(one.x_factor, one.y_factor, one.left, one.top, one.side, not one.flip)
    box = (10.0, 12.0, *(20 + 30 * rng.random(2)))
    x, y, width, height = target(one, box)
    np.testing.assert_allclose(target(other, box), [1 - x, y, width, height], atol=1e-6)


@pytest.mark.parametrize("seed", range(30))
def test_the_target_is_where_the_pixels_are(seed: int) -> None:
    """A white rectangle on black, seen through the view that training sees: how many pixels are white, and where."""
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(120, 260)), int(rng.integers(120, 260))
    x0, y0 = int(rng.integers(5, 60)), int(rng.integers(5, 60))
    x1, y1 = x0 + int(rng.integers(20, 60)), y0 + int(rng.integers(20, 60))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y0 : y1 + 1, x0 : x1 + 1] = 255
    image, offset_2, flip = Image.fromarray(pixels), tuple(rng.random(2)), bool(seed % 2)
    crop = training_crop(image.size, 110, offset_2, flip, 96)
    view = training_view(image, 110, offset_2, flip, 96)[..., 0].astype(float)
    edges = crop.box_in_crop(np.array([[x0, y0, x1, y1]], float))[0] + [0, 0, 1, 1]
    if edges.min() < 2 or edges.max() > 94:
        return
    middle = view[int((edges[1] + edges[3]) / 2)], view[:, int((edges[0] + edges[2]) / 2)]
    for line, low, high in ((middle[0], edges[0], edges[2]), (middle[1], edges[1], edges[3])):
        assert abs(line.sum() / 255 - (high - low)) < 0.15
        assert abs((line * (np.arange(96) + 0.5)).sum() / line.sum() - (low + high) / 2) < 0.15
    expected = np.array(
        [edges[0] + edges[2], edges[1] + edges[3], 2 * (edges[2] - edges[0]), 2 * (edges[3] - edges[1])]
    )
    np.testing.assert_allclose(target(crop, (x0, y0, x1, y1)), expected / 2 / 96, atol=1e-6)


PLAIN = Crop(1.0, 1.0, left=10, top=0, side=32)
"""Pixels 10 to 41 and 0 to 31 of the image."""


def test_units() -> None:
    """Pixels 14 to 21 and 4 to 19 are 4 to 11 and 4 to 19 of the crop: centre (8, 12), 8 x 16."""
    assert target(PLAIN, (14, 4, 21, 19)).tolist() == [8 / 32, 12 / 32, 8 / 32, 16 / 32]
    assert target(PLAIN, (14, 4, 21, 19), units="pixels").tolist() == [8, 12, 8, 16]
    for units in ("crop", "pixels"):
        settings = Localise(units=units)
        there = target(PLAIN, (14, 4, 21, 19), units=units)
        assert box_of(there.astype(float), settings, 32).tolist() == [4, 4, 11, 19]


def test_of_several_boxes_the_one_with_most_in_the_crop_or_the_largest() -> None:
    inside, larger = (12, 2, 21, 11), (35, 0, 94, 31)
    assert target(PLAIN, larger, inside, units="pixels").tolist() == [55, 16, 60, 32]  # 7 x 32 pixels are in the crop
    assert target(PLAIN, (40, 0, 94, 31), inside, units="pixels").tolist() == [7, 7, 10, 10]  # and 2 x 32 of this
    assert target(PLAIN, (40, 0, 94, 31), inside, units="pixels", which_box="largest").tolist() == [57.5, 16, 55, 32]


def test_what_an_object_beyond_the_crop_teaches() -> None:
    """Pixels 2 to 17 of the image are -8 to 7 of the crop, with the centre on its edge; 0 to 15 lie further out."""
    on_the_edge, centre_outside, far = (2, 8, 17, 15), (0, 8, 15, 15), (60, 8, 70, 15)
    assert target(PLAIN, on_the_edge, units="pixels").tolist() == [0, 12, 16, 8]
    assert target(PLAIN, on_the_edge, units="pixels", outside="clip").tolist() == [4, 12, 8, 8]
    assert target(PLAIN, on_the_edge, units="pixels", outside="skip").tolist() == [0, 12, 16, 8]
    assert target(PLAIN, centre_outside, units="pixels").tolist() == [-2, 12, 16, 8]
    assert np.isnan(target(PLAIN, centre_outside, outside="skip")).all()
    assert target(PLAIN, far, units="pixels").tolist() == [55.5, 12, 11, 8]
    assert np.isnan(target(PLAIN, far, outside="clip")).all()


def test_boxes_of_another_class_teach_nothing() -> None:
    boxes = Boxes.of_lists([[(1, (2.0, 2.0, 9.0, 9.0))]], [(0, 0)])
    assert np.isnan(Targets(boxes, np.array([0]), Localise(), 32, 32).of(0, PLAIN)).all()


@pytest.mark.parametrize("seed", range(5))
def test_each_position_of_a_wide_view_learns_the_box_of_its_own_crop(seed: int) -> None:
    """At crop 64 a view of 96 px has the crops at 0 and 32, down and across; of a flipped one they are counted from its
    right edge in the image.
    """
    rng = np.random.default_rng(seed)
    offset_2, flip, box = tuple(rng.random(2)), bool(seed % 2), tuple(rng.integers(0, 90, 2).tolist()) + (150.0, 120.0)
    view = training_crop((200, 160), 110, offset_2, flip, 96)
    found_P4 = Targets(boxes_of(box), np.array([0]), Localise(), 64, 96).of(0, view)
    expected_P4 = [
        target(Crop(view.x_factor, view.y_factor, view.left + (32 - x if flip else x), view.top + y, 64, flip), box)
        for y in (0, 32)
        for x in (0, 32)
    ]
    np.testing.assert_allclose(found_P4, expected_P4, atol=1e-6)


def test_every_other_batch_is_wide_as_far_as_S_allows() -> None:
    """S = 256 at crop 64 is 73 px, which has no room for two positions; at crop 224 a view of 336 px does not fit."""

    def sides(S: int, crop: int, views: str = "wide") -> list[int]:
        config = Config(crop=crop, train_scale=TrainScale("x", [S, S]), localise=Localise(views=views))
        targets = targets_of(config, boxes_of(), np.array([0]))
        return [targets.side_px(batch) for batch in (0, 1, 2)]

    assert sides(384, 64) == [64, 96, 64] and sides(384, 64, "crop") == [64, 64, 64]
    assert sides(256, 64) == [64, 64, 64] and sides(256, 224) == [224, 256, 224] and sides(384, 224)[1] == 320
