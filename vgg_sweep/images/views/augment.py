"""Training views (Sect. 3.1): S per image, a random crop of the rescaled image, a random flip, a random RGB shift.

All draws of an epoch come from one generator seeded by (seed, epoch, stream), a row per image: an image's view does not
depend on workers, ranks, batch size or a restart.

Axes: N images of the split, H W pixels, C = 3 colours.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.crops import rescaled_size


@dataclass(frozen=True)
class Draws:
    """The random choices of one epoch for each image of the split."""

    order_N: torch.Tensor
    """The images in the order in which the epoch visits them, each once."""
    S_N: torch.Tensor
    """Smallest side of the rescaled image in pixels."""
    offset_N2: torch.Tensor
    """Vertical and horizontal offset of the crop, each in [0, 1) of its range."""
    flip_N: torch.Tensor
    alpha_NC: torch.Tensor
    """Standard normal; the colour shift's alphas are these times `color_shift_std`."""


def draw_epoch(num_images: int, S_px: tuple[int, int], seed: int, epoch: int, stream: tuple[int, ...] = ()) -> Draws:
    """The draws of `epoch` for `num_images` images with S uniform over the whole pixels of [smallest, largest].

    Fine-tuning has a `stream` of its own, so as not to draw what its parent drew.
    """
    generator = torch.Generator().manual_seed(derived_seed("augment", seed, epoch, *stream))
    smallest, largest = S_px
    return Draws(
        order_N=torch.randperm(num_images, generator=generator),
        S_N=torch.randint(smallest, largest + 1, (num_images,), generator=generator),
        offset_N2=torch.rand(num_images, 2, generator=generator, dtype=torch.float64),
        flip_N=torch.rand(num_images, generator=generator) < 0.5,
        alpha_NC=torch.randn(num_images, 3, generator=generator),
    )


def derived_seed(purpose: str, *numbers: int) -> int:
    """A 63-bit seed for one purpose, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr((purpose, *numbers)).encode()).digest()[:8]) >> 1


def training_view(
    image: Image.Image, S_px: int, offset_2: tuple[float, float], flip: bool, crop: int, filter: str = "bilinear"
) -> np.ndarray:
    """A `crop` x `crop` uint8 HWC crop of `image` rescaled to smallest side S.

    Only the crop's box is rescaled, whose pixels differ from a crop of the whole rescaled image by up to two grey
    levels, the rounding between Pillow's two passes. With antialiasing (the paper does not name its filter).
    """
    width, height, left, top = crop_at(image.size, S_px, offset_2, crop)
    x_scale, y_scale = image.width / width, image.height / height
    box = (left * x_scale, top * y_scale, (left + crop) * x_scale, (top + crop) * y_scale)
    view = image.resize((crop, crop), Image.Resampling[filter.upper()], box=box)
    return np.asarray(view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view)


def crop_at(size_px: tuple[int, int], S_px: int, offset_2: tuple[float, float], crop: int) -> tuple[int, int, int, int]:
    """Width and height of an image rescaled to smallest side S, and left and top of the crop at `offset_2` of it."""
    width, height = rescaled_size(*size_px, S_px)
    return width, height, int(offset_2[1] * (width - crop + 1)), int(offset_2[0] * (height - crop + 1))


def color_shift(alpha_NC: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """The RGB shift [N, 3] in [0, 1] units: eigenvectors (columns) times alpha times eigenvalues, shared by an image's
    pixels.
    """
    eigenvectors = torch.tensor(statistics.eigenvectors, dtype=alpha_NC.dtype, device=alpha_NC.device)
    eigenvalues = torch.tensor(statistics.eigenvalues, dtype=alpha_NC.dtype, device=alpha_NC.device)
    return (alpha_NC * eigenvalues) @ eigenvectors.T
