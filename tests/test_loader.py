"""Batches: each image once an epoch, the same whatever the number of workers and wherever one starts."""

import numpy as np
import pytest
import torch
from PIL import Image

from vgg_sweep.images.augment import draw_epoch
from vgg_sweep.images.loader import Batch, batches
from vgg_sweep.images.sources import Split

NUM_IMAGES = 23


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, (80, 100, 3), dtype=np.uint8) for _ in range(NUM_IMAGES)]
    return Split(
        [str(i) for i in range(NUM_IMAGES)],
        np.arange(NUM_IMAGES),
        lambda i: Image.fromarray(arrays[i]),
    )


def epoch(split: Split, first: int = 0, workers: int = 1) -> list[Batch]:
    return list(batches(split, draw_epoch(NUM_IMAGES, (73, 146), 0, 4), 5, first, 64, workers))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images_NCHW, b.images_NCHW)
        and torch.equal(a.labels_N, b.labels_N)
        and torch.equal(a.alpha_NC, b.alpha_NC)
        for a, b in zip(one, other, strict=True)
    )


def test_each_image_once_an_epoch(split: Split) -> None:
    labels = torch.cat([batch.labels_N for batch in epoch(split)])
    assert sorted(labels.tolist()) == list(range(NUM_IMAGES))


def test_the_number_of_workers_changes_nothing(split: Split) -> None:
    assert same(epoch(split, workers=1), epoch(split, workers=4))


def test_a_later_start_gives_the_rest_of_the_same_epoch(split: Split) -> None:
    assert same(epoch(split, first=2), epoch(split)[2:])


def test_views_are_channels_last_already(split: Split) -> None:
    images_NCHW = epoch(split)[0].images_NCHW
    assert images_NCHW.shape == (5, 3, 64, 64)
    assert images_NCHW.is_contiguous(memory_format=torch.channels_last)
