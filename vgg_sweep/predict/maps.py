"""Where a net sees a class: its dense class score map, laid over the image.

Axes: H W pixels, C colours, K classes, h w positions of the class score map.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.nets.columns import STAGES
from vgg_sweep.nets.layers import STRIDE
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.score.batches import outputs

MAP_STRIDE_PX = STRIDE**STAGES
"""Pixels of the rescaled image between two positions of the map."""

HEAT = np.array([[40, 0, 80], [180, 30, 90], [250, 120, 20], [255, 240, 120]], float)
"""Colours from 0 to 1, evenly spaced: dark violet, red, orange, light yellow."""
GREY = 0.6
"""Brightness of the image, which is shown without its colours, under the heat."""
OPACITY = 0.8
"""Of the heat at 1."""


def class_posteriors(
    net: VGG, image_HWC: npt.NDArray[np.uint8], preprocessing: Preprocessing, hardware: Hardware
) -> npt.NDArray[np.float32]:
    """The soft-max of the class score map at each of its positions, [K, h, w], for one rescaled image."""
    dense = Pass("dense", min(image_HWC.shape[:2]), flip=False)
    scores_1Khw = outputs(net, image_HWC[None].copy(), dense, preprocessing, hardware)
    posteriors_Khw: npt.NDArray[np.float32] = scores_1Khw[0].softmax(0).cpu().numpy()
    return posteriors_Khw


def centres_px(num_positions: int, crop: int) -> npt.NDArray[np.float64]:
    """The place of each position of the map along one side of the rescaled image.

    A position is what the net says of one crop (its field reaches further, into the padding of a lone crop): the first
    lies half a crop from the edge, the others follow at the stride of the five poolings.
    """
    return np.linspace(crop / 2, crop / 2 + MAP_STRIDE_PX * (num_positions - 1), num_positions)


def stretched(
    map_hw: npt.NDArray[np.floating], rescaled_size_px: tuple[int, int], size_px: tuple[int, int], crop: int
) -> npt.NDArray[np.float64]:
    """The map [H, W] over an image of `size_px` (width, height) that was rescaled to `rescaled_size_px` for the net:
    linear between the centres of the positions, and beyond the outermost as there.
    """

    def along(side: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        pixels = (np.arange(size_px[side]) + 0.5) * rescaled_size_px[side] / size_px[side]
        return pixels, centres_px(map_hw.shape[1 - side], crop)

    x, x_centres = along(0)
    y, y_centres = along(1)
    rows_hW = np.stack([np.interp(x, x_centres, row) for row in map_hw])
    return np.stack([np.interp(y, y_centres, column) for column in rows_hW.T], axis=1)


def overlay(image: Image.Image, heat_HW: npt.NDArray[np.floating]) -> Image.Image:
    """`image` in grey with the heat, from 0 to 1, over it: the brighter and the less transparent, the more certain."""
    grey_HWC = GREY * np.asarray(image.convert("L"), float)[:, :, None]
    steps = np.linspace(0, 1, len(HEAT))
    colour_HWC = np.stack([np.interp(heat_HW, steps, HEAT[:, channel]) for channel in range(3)], axis=-1)
    opacity_HW1 = OPACITY * np.asarray(heat_HW, float)[:, :, None]
    return Image.fromarray(np.round(grey_HWC * (1 - opacity_HW1) + colour_HWC * opacity_HW1).astype(np.uint8))
