"""Batches: each image once an epoch, the same whatever the number of workers and wherever one starts."""

import time

import numpy as np
import pytest
import torch

from vgg_sweep.config import RunError
from vgg_sweep.images.augment import draw_epoch
from vgg_sweep.images.loader import Batch, Loader
from vgg_sweep.images.splits import Split
from vgg_sweep.ranks import ALONE, Ranks

NUM_IMAGES = 23


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, (80, 100, 3), dtype=np.uint8) for _ in range(NUM_IMAGES)]
    return Split(
        [str(i) for i in range(NUM_IMAGES)],
        np.arange(NUM_IMAGES),
        arrays.__getitem__,
    )


def epoch(
    split: Split, first: int = 0, workers: int = 1, ranks: Ranks = ALONE, timeout_seconds: float = 60
) -> list[Batch]:
    loader = Loader(5, 64, workers, timeout_seconds, pin_memory=False, share=ranks.share)
    return list(loader.batches(split, draw_epoch(NUM_IMAGES, (73, 146), 0, 4), first))


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


@pytest.mark.parametrize("workers", [0, 4])
def test_the_number_of_workers_changes_nothing(split: Split, workers: int) -> None:
    assert same(epoch(split, workers=1), epoch(split, workers=workers))


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_see_what_one_process_sees_each_image_once(split: Split, num_ranks: int) -> None:
    whole, parts = epoch(split), [epoch(split, ranks=Ranks(rank, num_ranks)) for rank in range(num_ranks)]
    for number, batch in enumerate(whole):
        of_ranks = [part[number] for part in parts]
        assert torch.equal(torch.cat([part.images_NCHW for part in of_ranks]), batch.images_NCHW)
        assert torch.equal(torch.cat([part.labels_N for part in of_ranks]), batch.labels_N)
        assert torch.equal(torch.cat([part.alpha_NC for part in of_ranks]), batch.alpha_NC)
        assert [row for part in of_ranks for row in part.rows] == list(range(len(batch.labels_N)))
        assert {(part.size, part.mean_S_px) for part in of_ranks} == {(batch.size, batch.mean_S_px)}


def test_mean_S_is_that_of_the_batch(split: Split) -> None:
    draws = draw_epoch(NUM_IMAGES, (73, 146), 0, 4)
    first = [int(draws.S_N[index]) for index in draws.order_N[:5]]
    assert epoch(split)[0].mean_S_px == pytest.approx(sum(first) / 5)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named(split: Split, workers: int) -> None:
    def fail(index: int) -> np.ndarray:
        raise OSError("gone")

    broken = Split(split.ids, split.labels_N, fail)
    with pytest.raises(RunError, match=r"^\d+ cannot be read as an image \(gone\)"):
        epoch(broken, workers=workers)


def test_an_image_that_never_comes_is_named_and_does_not_keep_the_process(split: Split) -> None:
    def hang(index: int) -> np.ndarray:
        time.sleep(1000)
        raise AssertionError

    hanging = Split(split.ids, split.labels_N, hang)
    began = time.monotonic()
    with pytest.raises(RunError, match=r"was not there after 0.1 s: its disk may hang; copy the set"):
        epoch(hanging, timeout_seconds=0.1)
    assert time.monotonic() - began < 5


def test_a_later_start_gives_the_rest_of_the_same_epoch(split: Split) -> None:
    assert same(epoch(split, first=2), epoch(split)[2:])


def test_views_are_channels_last_already(split: Split) -> None:
    images_NCHW = epoch(split)[0].images_NCHW
    assert images_NCHW.shape == (5, 3, 64, 64)
    assert images_NCHW.is_contiguous(memory_format=torch.channels_last)
