"""Boxes and what happens to them when their image is rescaled, cropped or mirrored (Appendix A).

A box is (x0, y0, x1, y1), the first and the last of its pixels, counted from 0: one pixel is (x, y, x, y), its width
x1 - x0 + 1. So ILSVRC's development kit measures overlaps. Pixel x reaches from edge x to edge x + 1, and edges are
what a rescaling moves.

Axes: A, B boxes; the functions take any axes before the last, of 4.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

CORRECT_IOU = 0.5
"""A box is right from this overlap on: the kit counts less than it as wrong, where the paper writes "> 0.5"."""


def iou(first_A4: Floats, second_B4: Floats) -> NDArray[np.float64]:
    """Intersection over union [A, B] of each box with each."""
    return overlaps(np.asarray(first_A4)[:, None], np.asarray(second_B4)[None])


def overlaps(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Intersection over union [...] of boxes [..., 4], one with one; 0 where a box has no area, as of swapped ends."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    width, height = (
        (np.minimum(first[..., last], second[..., last]) - np.maximum(first[..., begin], second[..., begin]) + 1).clip(
            0
        )
        for begin, last in ((0, 2), (1, 3))
    )
    shared = width * height
    union = areas(first) + areas(second) - shared
    shares: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return shares


def areas(boxes: Floats) -> Floats:
    """In pixels [...]; 0 where the last pixel comes before the first."""
    sides: Floats = (boxes[..., 2:] - boxes[..., :2] + 1).clip(0)
    area: Floats = sides[..., 0] * sides[..., 1]
    return area


def centres(boxes: Floats) -> Floats:
    """[..., 2] as edges count: the middle of a box of one pixel at x is x + 0.5."""
    middles: Floats = (boxes[..., :2] + boxes[..., 2:] + 1) / 2
    return middles


def sides(boxes: Floats) -> Floats:
    """Width and height [..., 2]."""
    width_and_height: Floats = boxes[..., 2:] - boxes[..., :2] + 1
    return width_and_height


def rescaled(boxes: Floats, x_factor: float, y_factor: float) -> Floats:
    """The boxes where their image is resized by these factors."""
    factors_4 = np.array([x_factor, y_factor, x_factor, y_factor])
    ends_4 = np.array([0, 0, 1, 1])
    resized: Floats = (boxes + ends_4) * factors_4 - ends_4
    return resized


def shifted(boxes: Floats, dx: float, dy: float) -> Floats:
    """The boxes moved; in a crop whose first pixel is (left, top) they are `shifted(boxes, -left, -top)`."""
    moved: Floats = boxes + np.array([dx, dy, dx, dy])
    return moved


def mirrored(boxes: Floats, width: float) -> Floats:
    """The boxes where their image, `width` pixels wide, is flipped from left to right."""
    return np.stack([width - 1 - boxes[..., 2], boxes[..., 1], width - 1 - boxes[..., 0], boxes[..., 3]], axis=-1)


def clipped(boxes: Floats, width: Floats | float, height: Floats | float) -> Floats:
    """The part of each box that is in its image; a box that is outside becomes a line of pixels at the border."""
    last_4 = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1) - 1
    return np.clip(boxes, 0, last_4)


def to_target(boxes: Floats, side: float) -> Floats:
    """(centre x, centre y, width, height) in units of the side of a crop whose first pixel is (0, 0).

    What the last layer predicts (Appendix A); the units are ours, the paper names none.
    """
    return np.concatenate([centres(boxes), sides(boxes)], axis=-1) / side


def from_target(targets: Floats, side: float) -> Floats:
    """The boxes that `to_target` makes `targets` of."""
    middle, halves = targets[..., :2] * side, targets[..., 2:] * side / 2
    return np.concatenate([middle - halves, middle + halves - 1], axis=-1)
