"""Training views of a small set, made on the net's device: its images are copied there once, as uint8.

They are those of `augment.training_view`, as Pillow rescales images of 8 bits: across, then down, each time with
weights in whole numbers of 2^-22, and rounded to grey levels. float64 holds such sums exactly, in any order.

Axes: N images, C = 3 colours, H W pixels of an image, P of a side of a view.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from vgg_sweep.errors import RunError
from vgg_sweep.images import decode
from vgg_sweep.images.sets.splits import MEMORY_SHARE, Split, free_memory_bytes
from vgg_sweep.images.views.augment import Draws, crop_at
from vgg_sweep.images.views.loader import Batch, Loader
from vgg_sweep.runs.progress import Reporter

UNIT = 2.0**22
"""Pillow's weights are whole numbers of such parts of one."""
IMAGES_AT_ONCE = 64
"""Whose pixels are float64 at a time."""


@dataclass(frozen=True)
class OnDevice:
    """Makes the batches of `loader` from images that are on the device."""

    loader: Loader
    images_NCHW: torch.Tensor

    def batches(self, split: Split, draws: Draws, first: int) -> Iterator[Batch]:
        """As `Loader.batches`."""
        for indices in self.loader.indices(draws, first):
            rows = self.loader.ranks.share(range(len(indices)))
            own = indices[list(rows)]
            parts = [self._views(draws, part) for part in torch.split(own, IMAGES_AT_ONCE)]
            views_NCPP = torch.cat(parts).contiguous(memory_format=torch.channels_last)
            labels_N = torch.from_numpy(split.labels_N[own.numpy()])
            mean_S_px = float(draws.S_N[indices].double().mean())
            yield Batch(views_NCPP, labels_N, draws.alpha_NC[own], rows, len(indices), len(indices), mean_S_px)

    def _views(self, draws: Draws, indices: torch.Tensor) -> torch.Tensor:
        device, crop = self.images_NCHW.device, self.loader.crop
        height, width = self.images_NCHW.shape[2:]
        boxes = []
        for S_px, (y, x) in zip(draws.S_N[indices].tolist(), draws.offset_N2[indices].tolist(), strict=True):
            new_width, new_height, left, top = crop_at((width, height), S_px, (y, x), crop)
            x_scale, y_scale = width / new_width, height / new_height
            boxes.append((left * x_scale, (left + crop) * x_scale, top * y_scale, (top + crop) * y_scale))
        box_N4 = torch.tensor(boxes, dtype=torch.float32, device=device)  # as Pillow takes it
        across_NPW, down_NPH = weights(box_N4[:, :2], width, crop), weights(box_N4[:, 2:], height, crop)
        across_NPW = torch.where(draws.flip_N[indices, None, None].to(device), across_NPW.flip(1), across_NPW)
        images_NCHP = _rounded(self.images_NCHW[indices.to(device)].double() @ across_NPW[:, None].mT)
        return _rounded(down_NPH[:, None] @ images_NCHP).to(torch.uint8)


def weights(stretch_N2: torch.Tensor, num_pixels: int, side: int) -> torch.Tensor:
    """How much each of `num_pixels` pixels counts in each of `side` pixels that show a stretch of them, in units of
    `UNIT`, [N, side, num_pixels]: a triangle, two new pixels wide, or two old ones where these are wider.
    """
    first_N1, last_N1 = stretch_N2[:, :1], stretch_N2[:, 1:]
    scale_N1 = (last_N1 - first_N1).double() / side
    reach_N1 = scale_N1.clamp(min=1)
    middle_NP = first_N1.double() + (torch.arange(side, device=first_N1.device) + 0.5) * scale_N1
    pixel_L = torch.arange(num_pixels, device=first_N1.device, dtype=torch.float64)
    share_NPL = 1 - ((pixel_L - middle_NP[..., None] + 0.5) * (1 / reach_N1)[..., None]).abs()
    is_seen_NPL = pixel_L >= (middle_NP - reach_N1 + 0.5).trunc()[..., None]
    is_seen_NPL &= pixel_L < (middle_NP + reach_N1 + 0.5).trunc()[..., None]
    share_NPL = torch.where(is_seen_NPL, share_NPL.clamp(min=0), 0)
    return (share_NPL / share_NPL.sum(-1, keepdim=True) * UNIT + 0.5).floor()


def _rounded(sums: torch.Tensor) -> torch.Tensor:
    return ((sums + UNIT / 2) / UNIT).floor()


def kept_on_device(loader: Loader, split: Split, device: torch.device, reporter: Reporter) -> Loader | OnDevice:
    """What makes the batches: under data.cache=device the images of `split` on the device, and under auto on a GPU too
    if nothing is in the way; else the `loader`.

    Raises `RunError` if data.cache=device cannot be, `Interrupted` when asked to stop.
    """
    cache = split.settings.cache
    if cache != "device" and (cache != "auto" or device.type != "cuda"):
        return loader
    obstacle = _obstacle(loader, split, device)
    if obstacle is None and (images_NCHW := _images(split, loader.workers, reporter)) is not None:
        reporter.note(f"the {len(split):,} training images are kept on {device}, where their views are made")
        return OnDevice(loader, images_NCHW.to(device))
    if cache == "device":
        raise RunError(f"data.cache=device is not possible: {obstacle or ONE_SIZE}; use data.cache=auto.")
    return loader


ONE_SIZE = "the training images are not of one size, at least as wide as tall"
"""Pillow rescales tall ones down first, in some versions."""


def _obstacle(loader: Loader, split: Split, device: torch.device) -> str | None:
    """What speaks against it, as far as some images tell."""
    sizes_px = split.some_sizes_px()
    needed = len(split) * 3 * max((width * height for width, height in sizes_px), default=0)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory_bytes()
    if needed > free * (MEMORY_SHARE if split.settings.cache == "auto" else 1):
        return f"it needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free on {device}"
    if loader.targets is not None or loader.filter != "bilinear":
        return "it supports neither nets that learn boxes nor filters other than bilinear"
    if split.settings.on_bad_image != "error":
        return f"it is not possible with data.on_bad_image={split.settings.on_bad_image}"
    is_one = len(set(sizes_px)) == 1 and sizes_px[0][1] <= sizes_px[0][0]
    return None if is_one else ONE_SIZE


def _images(split: Split, workers: int, reporter: Reporter) -> torch.Tensor | None:
    """All images of `split`, uint8 NCHW; None if they are not of one size."""
    width, height = split.size_px(0)
    images_NHWC = np.empty((len(split), height, width, 3), np.uint8)

    def read(index: int) -> bool:
        with split.named(index):
            image = decode.decoded(split.stored(index), exif_rotation=split.settings.exif_rotation)
        if is_alike := image.size == (width, height):
            images_NHWC[index] = np.asarray(image)
        return is_alike

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, is_alike in enumerate(pool.map(read, range(len(split))), start=1):
            if not is_alike:
                pool.shutdown(cancel_futures=True)
                return None
            reporter.step("load", done, len(split))
            reporter.check_stop()
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous()
