"""The views of images of many sizes go through a net in batches of one shape, as many as its device can hold.

Axes: N images, P crops of an image, C colours, H W pixels, K what the net says of a view.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.crops import rescaled, usable_or_none, views
from vgg_sweep.images.views.preprocessing import net_input
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.protocols.passes import Pass

Given = TypeVar("Given")
Made = TypeVar("Made")
OfViews = Callable[[np.ndarray], np.ndarray]
"""uint8 views_NHWC of one shape to what the net says of each, [N, K]."""


def on_device(views_NHWC: np.ndarray, each: Pass, hardware: Hardware) -> torch.Tensor:
    """The views of a pass, flipped if it says so, as pixels_NCHW on the device."""
    pixels_NCHW = torch.from_numpy(views_NHWC).permute(0, 3, 1, 2).to(hardware.device)
    return pixels_NCHW.flip(3) if each.flip else pixels_NCHW


def outputs(
    net: VGG, views_NHWC: np.ndarray, each: Pass, preprocessing: Preprocessing, hardware: Hardware
) -> torch.Tensor:
    """What a net says of the views of a pass, [N, C, h, w] in float32."""
    pixels_NCHW = on_device(views_NHWC, each, hardware)
    with torch.inference_mode(), hardware.autocast():
        outputs_NChw: torch.Tensor = net(hardware.laid_out(net_input(pixels_NCHW, preprocessing)))
    return outputs_NChw.float()


def ahead(
    pool: ThreadPoolExecutor, make: Callable[[Given], Made], batches: Iterable[Sequence[Given]]
) -> Generator[list[Made]]:
    """What `make` makes of all of each batch; the next batch is being made while one is in use."""
    current: list[Future[Made]] | None = None
    following: list[Future[Made]] = []
    try:
        for batch in batches:
            following = [pool.submit(make, each) for each in batch]
            if current is not None:
                yield [future.result() for future in current]
            current = following
        if current is not None:
            yield [future.result() for future in current]
    finally:
        for future in following:
            future.cancel()


def at_each_Q(
    pool: ThreadPoolExecutor, images: Sequence[Image.Image], passes: Iterable[Pass], interpolation: str
) -> Iterator[tuple[Pass, list[np.ndarray]]]:
    """Each pass with the images rescaled to its Q, which is done once for all passes of that Q."""
    by_Q: dict[int, list[Pass]] = {}
    for each in passes:
        by_Q.setdefault(each.Q, []).append(each)
    for Q in sorted(by_Q):
        images_HWC = list(pool.map(partial(rescaled, Q_px=Q, interpolation=interpolation), images))
        yield from ((each, images_HWC) for each in by_Q[Q])


def in_passes(
    pool: ThreadPoolExecutor, split: Split, rows: range, passes: Iterable[Pass], largest_Q: int, interpolation: str
) -> tuple[list[Image.Image | None], Iterator[tuple[Pass, list[np.ndarray]]]]:
    """Some images of a split, decoded once for all passes, and each pass with those that are there rescaled to its Q.
    None stands for one that is left out, of all passes, as it cannot be decoded or does not fit at `largest_Q`.
    """
    found = list(pool.map(partial(usable_or_none, split, Q_px=largest_Q), rows))
    there = [image for image in found if image is not None]
    return found, at_each_Q(pool, there, passes, interpolation)


def over_views(of_views: OfViews, images_HWC: list[np.ndarray], method: str, crop: int, forward_px: int) -> np.ndarray:
    """What `of_views` says of each image, [N, K] in float32: its mean over the image's views under `method`."""
    result: list[np.ndarray | None] = [None] * len(images_HWC)
    for indices, views_NHWC in same_shape(images_HWC, method, crop, forward_px):
        per_forward = max(1, forward_px // (views_NHWC.shape[1] * views_NHWC.shape[2]))
        parts = (views_NHWC[first : first + per_forward] for first in range(0, len(views_NHWC), per_forward))
        views_NK = np.concatenate([halved_to_fit(of_views, part) for part in parts])
        for index, views_PK in zip(indices, views_NK.reshape(len(indices), -1, views_NK.shape[1]), strict=True):
            result[index] = views_PK.mean(axis=0)
    return np.array([row for row in result if row is not None], np.float32)


def halved_to_fit(of_views: OfViews, views_NHWC: np.ndarray) -> np.ndarray:
    """`of_views` of all views, in halves where the device's memory does not suffice.

    Raises `RunError` if it does not suffice for one view.
    """
    try:
        return of_views(views_NHWC)
    except torch.OutOfMemoryError as error:
        if len(views_NHWC) == 1:
            _, height, width, _ = views_NHWC.shape
            raise RunError(
                f"the device has too little memory for one view of {width} x {height} px; "
                "score on another device, or under smaller Q (protocol=single)."
            ) from error
    torch.cuda.empty_cache()  # out of the handler, whose traceback keeps the failed attempt's tensors
    middle = len(views_NHWC) // 2
    return np.concatenate([halved_to_fit(of_views, half) for half in (views_NHWC[:middle], views_NHWC[middle:])])


def same_shape(
    images_HWC: list[np.ndarray], method: str, crop: int, forward_px: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """The views of the images in groups of one shape, unpadded, with the images' indices; an image's crops stay
    together, however many pixels they are.
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image_HWC in enumerate(images_HWC):
        by_shape.setdefault(image_HWC.shape if method == "dense" else (crop, crop), []).append(index)
    for indices in by_shape.values():
        one = views(images_HWC[indices[0]], method, crop)
        per_batch = max(1, forward_px // (one.shape[0] * one.shape[1] * one.shape[2]))
        for first in range(0, len(indices), per_batch):
            group = indices[first : first + per_batch]
            yield (group, np.concatenate([views(images_HWC[index], method, crop) for index in group]))
