"""The embedded image set: classes are fractals, so that there is something to learn with no download.

In the manner of FractalDB (Kataoka et al., Pre-training without Natural Images, ACCV 2020): a class is an iterated
function system (IFS), a few contractive affine maps of the plane, and its images show the attractors of slightly
changed maps. Where FractalDB scatters white dots on black, the figures here are solid, coloured, of many sizes, at any
place of a smooth, darker ground: the net must find the shape, and a larger image shows more of it.

Letters: M maps of a system, T steps of the chaos game, W walkers that play it side by side, N = T W points; H W pixels,
with 3 colours; K knots of the ground's colour.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_sweep.config.schema import Fractals

Floats = npt.NDArray[np.floating[Any]]
Positions = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]

# What makes the classes. A system is kept if its figure is a shape rather than dust or a plain blob.
MAPS_RANGE = (2, 5)
STRETCH_RANGE = (0.3, 0.8)
FILL_RANGE = (0.28, 0.62)
ASPECT_MIN = 0.55
CLASS_HUE = 0.25

# What makes the images of a class differ. Sizes are shares of the image's side, greys and hues of full light.
MAP_NOISE = 0.06
ROTATION_MAX_RAD = 0.15
SIZE_RANGE = (0.4, 0.75)
GREY_RANGE = (0.1, 0.3)
CONTRAST_RANGE = (0.4, 0.6)
GROUND_HUE = 0.15
FIGURE_HUE = 0.15
NUM_KNOTS = 3

# How finely a figure is drawn.
COVER_GAIN = 2.0
NUM_WALKERS = 1024
NUM_BURN_IN_STEPS = 16
NUM_DRAWN_STEPS = 20

# Words of the seeds; 0 would give the stream of the class itself.
SPLIT_WORDS = {"train": 1, "val": 2}


@dataclass(frozen=True)
class IFS:
    """An IFS: x -> linear[m] @ x + shift[m], map m being taken with probability proportional to the area it leaves."""

    linear_M22: Floats
    shift_M2: Floats
    hue_3: Floats
    """What the class's figures add to red, green and blue on average, as leaves and petals have their colours."""


def class_names(spec: Fractals) -> list[str]:
    return [f"ifs-{index:02d}" for index in range(spec.num_classes)]


def render_split(
    spec: Fractals, split: str, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Images, npt.NDArray[np.int64]]:
    """All images of a split, class by class: uint8 [N, side_px, side_px, 3] and their class indices [N].

    A pure function: image i of a class has its own random stream, seeded by (seed, class, split, i), so that more
    images or more classes leave those there are as they were. `progress` is called with (images done, images in all).
    """
    per_class = {"train": spec.train_per_class, "val": spec.val_per_class}[split]
    labels_N = np.repeat(np.arange(spec.num_classes, dtype=np.int64), per_class)
    images_NHW3 = np.empty((len(labels_N), spec.side_px, spec.side_px, 3), np.uint8)
    for done, (system, label, index) in enumerate(_in_turn(spec, per_class)):
        images_NHW3[done] = render_image(system, spec, split, label, index)
        progress(done + 1, len(images_NHW3))
    return images_NHW3, labels_N


def figure_boxes(
    spec: Fractals, split: str, progress: Callable[[int], None] = lambda done: None
) -> npt.NDArray[np.float32]:
    """The first and last pixels (x0, y0, x1, y1) of each image's figure, [N, 4] in the order of the images."""
    per_class = {"train": spec.train_per_class, "val": spec.val_per_class}[split]
    boxes_N4 = np.empty((spec.num_classes * per_class, 4), np.float32)
    for done, (system, label, index) in enumerate(_in_turn(spec, per_class)):
        points_px_2N, _, _ = _figure(system, spec, split, label, index)
        boxes_N4[done] = [*points_px_2N.min(axis=1), *points_px_2N.max(axis=1)]
        progress(done + 1)
    return boxes_N4


def _in_turn(spec: Fractals, per_class: int) -> Iterator[tuple[IFS, int, int]]:
    """The system, the class and the number in it of each image."""
    for label in range(spec.num_classes):
        system = class_system(spec.seed, label)
        yield from ((system, label, index) for index in range(per_class))


def class_system(seed: int, label: int) -> IFS:
    """The first of the class's random systems whose figure is neither dust, nor a blob, nor a line."""
    rng = _rng(seed, label)
    while True:
        system = _random_system(rng)
        points_2N, _ = _play(system, rng)
        fill, aspect = _fill_and_aspect(points_2N)
        if FILL_RANGE[0] <= fill <= FILL_RANGE[1] and aspect >= ASPECT_MIN:
            return system


def render_image(system: IFS, spec: Fractals, split: str, label: int, index: int) -> Images:
    """One image [side_px, side_px, 3] of a class."""
    points_px_2N, tones_N, rng = _figure(system, spec, split, label, index)
    cover_HW, tone_HW = _rasterise(points_px_2N, tones_N, spec.side_px)
    ground_3HW, (bright_311, dim_311) = _colours(system.hue_3, spec.side_px, rng)
    figure_3HW = bright_311 + tone_HW * (dim_311 - bright_311)
    image_3HW: Floats = ground_3HW + cover_HW * (figure_3HW - ground_3HW)
    return (255 * image_3HW.clip(0, 1) + 0.5).astype(np.uint8).transpose(1, 2, 0)


def _figure(
    system: IFS, spec: Fractals, split: str, label: int, index: int
) -> tuple[Positions, Floats, np.random.Generator]:
    """The figure's pixel positions [2, N] and tones [N], and the image's stream, which its colours are drawn from."""
    rng = _rng(spec.seed, label, SPLIT_WORDS[split], index)
    points_2N, tones_N = _play(_perturbed(system, rng), rng)
    points_2N = _rotation(rng.uniform(-ROTATION_MAX_RAD, ROTATION_MAX_RAD)) @ points_2N
    return _placed(points_2N, spec.side_px, rng), tones_N, rng


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))


def _rotation(angle_rad: float) -> Floats:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin], [sin, cos]])


def _random_system(rng: np.random.Generator) -> IFS:
    """Maps drawn by their singular values, so that each is contractive whatever its rotations."""
    num_maps = rng.integers(MAPS_RANGE[0], MAPS_RANGE[1], endpoint=True)
    linear_M22 = np.empty((num_maps, 2, 2))
    for linear_22 in linear_M22:
        turn, tilt = rng.uniform(-np.pi, np.pi, 2)
        stretches = rng.uniform(*STRETCH_RANGE, 2) * [1, rng.choice([-1, 1])]
        linear_22[:] = _rotation(turn) @ np.diag(stretches) @ _rotation(tilt)
    return IFS(linear_M22, rng.uniform(-1, 1, (num_maps, 2)), rng.uniform(-CLASS_HUE, CLASS_HUE, 3))


def _perturbed(system: IFS, rng: np.random.Generator) -> IFS:
    """Each map changed by a small random one. It stays contractive: 0.8 (1 + 2 MAP_NOISE) < 1."""
    num_maps = len(system.linear_M22)
    noise_M22 = rng.uniform(-MAP_NOISE, MAP_NOISE, (num_maps, 2, 2))
    noise_M2 = rng.uniform(-MAP_NOISE, MAP_NOISE, (num_maps, 2))
    return IFS(system.linear_M22 + noise_M22 @ system.linear_M22, system.shift_M2 + noise_M2, system.hue_3)


def _play(system: IFS, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Points [2, N] of the attractor by the chaos game, and tones [N] in [0, 1] that tell the maps that led to them."""
    areas_M = np.abs(np.linalg.det(system.linear_M22))
    draws_TW = rng.random((NUM_BURN_IN_STEPS + NUM_DRAWN_STEPS, NUM_WALKERS), np.float32)
    choices_TW = sum(draws_TW > edge for edge in np.cumsum(areas_M / areas_M.sum())[:-1])
    half_tones_M = np.linspace(0, 0.5, len(areas_M))
    maps_7M = np.column_stack([system.linear_M22.reshape(-1, 4), system.shift_M2, half_tones_M]).T.astype(np.float32)
    cloud_3TW = np.zeros((3, len(choices_TW), NUM_WALKERS), np.float32)
    for step, choices_W in enumerate(choices_TW):
        xs_W, ys_W, tones_W = cloud_3TW[:, step - 1]
        a, b, c, d, e, f, half_tones_W = maps_7M.take(choices_W, axis=1)
        cloud_3TW[:, step] = a * xs_W + b * ys_W + e, c * xs_W + d * ys_W + f, tones_W / 2 + half_tones_W
    xs_N, ys_N, tones_N = cloud_3TW[:, NUM_BURN_IN_STEPS:].reshape(3, -1)
    return np.stack([xs_N, ys_N]), tones_N


def _fill_and_aspect(points_2N: Floats, cells: int = 64) -> tuple[float, float]:
    """The share of its bounding square that a figure fills, and the shorter over the longer side of its box."""
    extent_2 = np.ptp(points_2N, axis=1)
    cells_2N = ((points_2N - points_2N.min(axis=1, keepdims=True)) / extent_2.max() * (cells - 1)).astype(np.int64)
    return len(np.unique(cells_2N[0] * cells + cells_2N[1])) / cells**2, extent_2.min() / extent_2.max()


def _placed(points_2N: Floats, side_px: int, rng: np.random.Generator) -> Positions:
    """Pixel positions of the points: the figure at a random size and at a random place wholly inside the image."""
    low_2, extent_2 = points_2N.min(axis=1), np.ptp(points_2N, axis=1)
    scale_px = side_px * rng.uniform(*SIZE_RANGE) / extent_2.max()
    corner_px_2 = rng.random(2) * (side_px - 1 - scale_px * extent_2)
    points_px_2N: Floats = corner_px_2[:, None] + scale_px * (points_2N - low_2[:, None])
    return points_px_2N.astype(np.int64)


def _rasterise(points_px_2N: Positions, tones_N: Floats, side_px: int) -> tuple[Floats, Floats]:
    """Cover of each pixel in [0, 1], which closes the gaps between points, and the mean tone of the points near it."""
    pixels_N = points_px_2N[1] * side_px + points_px_2N[0]
    counts_HW = _blurred(np.bincount(pixels_N, minlength=side_px**2).reshape(side_px, side_px))
    tones_HW = _blurred(np.bincount(pixels_N, tones_N, side_px**2).reshape(side_px, side_px))
    return 1 - np.exp(-COVER_GAIN * counts_HW), tones_HW / np.maximum(counts_HW, 1e-6)


def _blurred(values_HW: npt.NDArray[Any]) -> Floats:
    """Smoothed by the 3x3 binomial kernel, zeros outside."""
    padded = np.pad(values_HW.astype(np.float32) / 16, 1)
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    blurred: Floats = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    return blurred


def _colours(class_hue_3: Floats, side_px: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A smooth dark ground [3, side_px, side_px], and two colours [2, 3, 1, 1]: a bright one and one half as bright."""
    grey = rng.uniform(*GREY_RANGE)
    knots_3KK = grey + rng.uniform(-GROUND_HUE, GROUND_HUE, (3, NUM_KNOTS, NUM_KNOTS))
    distances_HK = np.abs(np.linspace(0, NUM_KNOTS - 1, side_px)[:, None] - np.arange(NUM_KNOTS))
    weights_HK = np.cos(np.pi / 2 * distances_HK.clip(0, 1)) ** 2
    ground_3HW = weights_HK @ knots_3KK @ weights_HK.T
    hues_23 = class_hue_3 + rng.uniform(-FIGURE_HUE, FIGURE_HUE, (2, 3))
    hues_23 -= hues_23.mean(axis=1, keepdims=True)
    colours_23 = grey + rng.uniform(*CONTRAST_RANGE) * np.array([[1.0], [0.5]]) + hues_23
    return ground_3HW.astype(np.float32), colours_23[..., None, None].astype(np.float32)
