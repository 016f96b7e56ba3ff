"""The box targets of a training view (Appendix A): the box of its image, taken through rescaling, crop and flip.

Axes: b boxes of one image, P positions of the map of a view, row by row; the 4 of a box are corners, those of a target
centre, width and height.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.localise import NUM_COORDINATES, Localise
from vgg_sweep.config.schema import Config
from vgg_sweep.images.views.augment import crop_at
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.geometry import (
    Floats,
    areas,
    centres,
    from_target,
    mirrored,
    rescaled,
    shifted,
    to_target,
)
from vgg_sweep.protocols.methods import scaled_px

NO_TARGET = np.full(NUM_COORDINATES, np.nan, np.float32)
"""Of a position that teaches nothing of boxes."""
POSITION_PX = 32
"""From the crop of a position to that of the next: five poolings halve the map."""


@dataclass(frozen=True)
class Crop:
    """Where a crop of `side` pixels lies in an image rescaled by two factors, and whether it is flipped afterwards."""

    x_factor: float
    y_factor: float
    left: int
    top: int
    side: int
    flip: bool = False

    def box_in_crop(self, boxes: Floats) -> Floats:
        """Boxes of the image in pixels of the crop, beyond which they may reach."""
        moved = shifted(rescaled(boxes, self.x_factor, self.y_factor), -self.left, -self.top)
        return mirrored(moved, self.side) if self.flip else moved

    def box_in_image(self, boxes: Floats) -> Floats:
        """The way back."""
        moved = shifted(mirrored(boxes, self.side) if self.flip else boxes, self.left, self.top)
        return rescaled(moved, 1 / self.x_factor, 1 / self.y_factor)


def training_crop(size_px: tuple[int, int], S_px: int, offset_2: tuple[float, float], flip: bool, crop: int) -> Crop:
    """The crop of `augment.training_view`."""
    width, height, left, top = crop_at(size_px, S_px, offset_2, crop)
    return Crop(width / size_px[0], height / size_px[1], left, top, crop, flip)


@dataclass(frozen=True)
class Targets:
    """The box targets for views of a split."""

    boxes: Boxes
    labels_N: NDArray[np.integer]
    settings: Localise
    crop: int
    wide: int
    """Side of the views of every other batch, a multiple of `POSITION_PX`."""

    def side_px(self, batch: int) -> int:
        """Of the views of batch number `batch` of an epoch."""
        return self.wide if batch % 2 else self.crop

    def offsets(self, side_px: int) -> range:
        """Of the crops in a view, across and down."""
        return range(0, side_px - self.crop + 1, POSITION_PX)

    def of(self, index: int, view: Crop) -> NDArray[np.float32]:
        """The targets [P, 4] of a view of image `index`, in the settings' units."""
        boxes_b4 = view.box_in_crop(self.boxes.of(index, int(self.labels_N[index])))
        offsets = self.offsets(view.side)
        return np.stack([self._of_crop(shifted(boxes_b4, -left, -top)) for top in offsets for left in offsets])

    def _of_crop(self, boxes_b4: Floats) -> NDArray[np.float32]:
        """Of boxes in pixels of the crop."""
        if len(boxes_b4) == 0:
            return NO_TARGET
        inside_b4 = _inside(boxes_b4, self.crop)
        sizes_b = areas(boxes_b4 if self.settings.which_box == "largest" else inside_b4)
        chosen = int(sizes_b.argmax())
        box_4 = boxes_b4[chosen]
        if self.settings.outside == "clip":
            box_4 = inside_b4[chosen]
            is_taught = bool(areas(box_4) > 0)
        else:
            centre_2 = centres(box_4)
            is_taught = self.settings.outside == "keep" or bool(((centre_2 >= 0) & (centre_2 <= self.crop)).all())
        return to_target(box_4, unit_px(self.settings, self.crop)).astype(np.float32) if is_taught else NO_TARGET


def targets_of(config: Config, boxes: Boxes, labels_N: NDArray[np.integer]) -> Targets:
    """What the images with these boxes and labels are to teach."""
    crop, S_px = config.crop, scaled_px(config.train_scale.S[0], config.crop)
    wide = min(crop + max(crop // 2, POSITION_PX), S_px) // POSITION_PX * POSITION_PX
    return Targets(boxes, labels_N, config.localise, crop, wide if config.localise.views == "wide" else crop)


def unit_px(settings: Localise, side_px: int) -> int:
    """What the outputs of a net count in, in pixels of a crop of `side_px`."""
    return side_px if settings.units == "crop" else 1


def box_of(outputs: Floats, settings: Localise, side_px: int) -> Floats:
    """The boxes that a net's outputs stand for, in pixels of its crop of `side_px`."""
    return from_target(outputs, unit_px(settings, side_px))


def _inside(boxes: Floats, side_px: int) -> Floats:
    """The part of each box within the crop, without area where there is none."""
    return np.concatenate([np.maximum(boxes[..., :2], 0), np.minimum(boxes[..., 2:], side_px - 1)], axis=-1)
