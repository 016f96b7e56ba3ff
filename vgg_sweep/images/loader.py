"""Batches of training views, prepared by threads while the net computes.

Pillow decodes and rescales outside Python's lock.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from vgg_sweep.images.augment import Draws, training_view
from vgg_sweep.images.sources import Split

BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    images_NCHW: torch.Tensor
    """uint8, in channels-last memory."""
    labels_N: torch.Tensor
    alpha_NC: torch.Tensor


def batches(split: Split, draws: Draws, batch_size: int, first: int, crop: int, workers: int) -> Iterator[Batch]:
    """The epoch's batches from number `first` on, in the order of the draws; the last one may be smaller."""
    starts = range(first * batch_size, len(split), batch_size)
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[torch.Tensor, list[Future[np.ndarray]]]] = deque()
        try:
            for start in starts:
                indices = draws.order_N[start : start + batch_size]
                ahead.append(
                    (
                        indices,
                        [pool.submit(_view, split, draws, index, crop) for index in indices.tolist()],
                    )
                )
                if len(ahead) > BATCHES_AHEAD:
                    yield _batch(split, draws, *ahead.popleft())
            while ahead:
                yield _batch(split, draws, *ahead.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _view(split: Split, draws: Draws, index: int, crop: int) -> np.ndarray:
    y, x = draws.place_N2[index].tolist()
    return training_view(
        split.image(index),
        int(draws.S_N[index]),
        (y, x),
        bool(draws.flip_N[index]),
        crop,
    )


def _batch(split: Split, draws: Draws, indices: torch.Tensor, views: list[Future[np.ndarray]]) -> Batch:
    images_NHWC = torch.from_numpy(np.stack([view.result() for view in views]))
    labels_N = torch.from_numpy(split.labels_N[indices.numpy()])
    return Batch(images_NHWC.permute(0, 3, 1, 2), labels_N, draws.alpha_NC[indices])
