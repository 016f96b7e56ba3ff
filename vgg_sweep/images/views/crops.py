"""Test views (Sect. 3.2): the isotropically rescaled image for dense evaluation, and the crops of the other methods.

Axes: H W pixels, C colours, P crops.
"""

import numpy as np
from PIL import Image

from vgg_sweep.images.decode import BadImage
from vgg_sweep.images.sets.splits import Split

MOST_PX = 2**26
"""Of a rescaled image: 8192 x 8192."""


def rescaled_size(width: int, height: int, smallest_px: int) -> tuple[int, int]:
    """Width and height after the isotropic rescale to a smallest side; the other side is rounded to a whole pixel (not
    stated).
    """
    shorter = min(width, height)
    return round(width * smallest_px / shorter), round(height * smallest_px / shorter)


def check_fits(size_px: tuple[int, int], Q_px: int) -> None:
    """Raise `BadImage` if an image of this width and height, being very long and thin, becomes too large at Q."""
    width, height = rescaled_size(*size_px, Q_px)
    if width * height > MOST_PX:
        raise BadImage(
            f"of {size_px[0]} x {size_px[1]} px, it would have {width} x {height} px at Q={Q_px}, too many to hold"
        )


def usable_or_none(split: Split, index: int, Q_px: int) -> Image.Image | None:
    """The image at `index`; None if it cannot be decoded, or not be rescaled to Q, and data.on_bad_image allows going
    on without it. Raises `BadImage` naming it otherwise.
    """
    image = split.image_or_none(index)
    if image is not None:
        try:
            with split.named(index):
                check_fits(image.size, Q_px)
        except BadImage as error:
            split.leave_out(index, error)
            return None
    return image


def rescaled(image: Image.Image, Q_px: int, interpolation: str = "bilinear") -> np.ndarray:
    """`image` rescaled to smallest side Q, as uint8 HWC, with antialiasing.

    Bilinear if nothing else is asked for (the paper does not name its filter). Raises `BadImage` if an image, being
    very long and thin, becomes too large.
    """
    check_fits(image.size, Q_px)
    size = rescaled_size(image.width, image.height, Q_px)
    return np.asarray(image.resize(size, Image.Resampling[interpolation.upper()]))


def origins(method: str, height: int, width: int, crop: int) -> list[tuple[int, int]]:
    """Top-left corners (y, x) of a method's crops of one rescaled image.

    `multi-crop`: the regular 5x5 grid; on a non-square image five evenly spaced offsets per axis from edge to edge (the
    paper does not say), rounded half up, so that the grid need not be its own mirror image (0, 2, 5, 7, 9). `ten-crop`:
    the four corners and the centre of Krizhevsky et al. `centre-crop`: the centre. Flips are views of their own.
    """
    bottom, right = height - crop, width - crop
    centre = (bottom // 2, right // 2)
    if method == "centre-crop":
        return [centre]
    if method == "ten-crop":
        return [(0, 0), (0, right), (bottom, 0), (bottom, right), centre]
    return [(y, x) for y in _five_offsets(bottom) for x in _five_offsets(right)]


def _five_offsets(last: int) -> list[int]:
    """0 to `last` in four equal steps, rounded half up."""
    return [(2 * step * last + 4) // 8 for step in range(5)]


def views(image_HWC: np.ndarray, method: str, crop: int) -> np.ndarray:
    """The views of one rescaled image under `method`: [P, H, W, C], the image itself for `dense`."""
    if method == "dense":
        return image_HWC[None]
    height, width, _ = image_HWC.shape
    return np.stack([image_HWC[y : y + crop, x : x + crop] for y, x in origins(method, height, width, crop)])
