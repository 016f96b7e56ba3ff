"""Batches: each image once an epoch, the same whatever the number of workers and wherever one starts."""

import errno
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.augment import draw_epoch
from vgg_sweep.images.views.loader import Batch, Loader
from vgg_sweep.machine.ranks import ALONE, Ranks

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
    loader = Loader(5, 64, workers, timeout_seconds, ranks=ranks)
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
    broken = Split(split.ids, split.labels_N, lambda index: b"no image")
    with pytest.raises(RunError, match=r"^\d+ cannot be read as an image \(it is in no known image format"):
        epoch(broken, workers=workers)


def with_bad(split: Split, bad: set[int], on_bad_image: str) -> Split:
    """The split with some files broken; labels tell which image is shown."""
    settings = Data(on_bad_image=on_bad_image)
    return Split(split.ids, split.labels_N, lambda i: b"" if i in bad else split.stored(i), settings)


@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 3])
def test_skipped_images_leave_the_others_as_they_are(split: Split, workers: int, num_ranks: int) -> None:
    whole, bad = epoch(split), {3, 4, 17}
    for rank in range(num_ranks):
        ranks = Ranks(rank, num_ranks)
        gappy = with_bad(split, bad, "skip")
        own = epoch(split, ranks=ranks)
        ranks.__dict__["sum"] = lambda num: [num + 1]  # as if one image were with the others
        for full, part, plain in zip(whole, epoch(gappy, workers=workers, ranks=ranks), own, strict=True):
            there = [row for row in plain.rows if int(full.labels_N[row]) not in bad]
            assert list(part.rows) == there and part.size == full.size
            assert part.num_images == len(there) + 1
            for name in ("images_NCHW", "labels_N", "alpha_NC"):
                assert torch.equal(getattr(part, name), getattr(full, name)[there])
        assert set(gappy.bad) == {image for image in bad if any(image in batch.labels_N for batch in own)}


def test_a_substitute_is_the_next_image_with_its_own_label(split: Split) -> None:
    gappy = with_bad(split, {3, 4, NUM_IMAGES - 1}, "substitute")
    stands_for = {3: 5, 4: 5, NUM_IMAGES - 1: 0}
    for full, part in zip(epoch(split), epoch(gappy, workers=2), strict=True):
        assert part.labels_N.tolist() == [stands_for.get(image, image) for image in full.labels_N.tolist()]
        same_rows = [row for row, image in enumerate(full.labels_N.tolist()) if image not in stands_for]
        assert torch.equal(part.images_NCHW[same_rows], full.images_NCHW[same_rows])
        assert part.num_images == full.size and part.rows == full.rows
    assert set(gappy.bad) == set(stands_for)


@pytest.mark.parametrize("on_bad_image", ["skip", "substitute"])
def test_a_batch_without_any_image_is_refused(split: Split, on_bad_image: str) -> None:
    with pytest.raises(RunError, match="none of 5 images of a batch can be decoded"):
        epoch(with_bad(split, set(range(NUM_IMAGES)), on_bad_image))


@pytest.mark.parametrize("on_bad_image", ["error", "skip", "substitute"])
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open; raise the limit"),
        (
            OSError(errno.ESTALE, "Stale file handle"),
            r"from its disk \(Stale file handle\); check that",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "the set complete"),
    ],
)
def test_a_disk_that_fails_is_never_skipped(split: Split, on_bad_image: str, error: OSError, sentence: str) -> None:
    def fail(index: int) -> bytes:
        raise error

    with pytest.raises(RunError, match=sentence):
        epoch(Split(split.ids, split.labels_N, fail, Data(on_bad_image=on_bad_image)))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the process's memory from Linux's /proc")
def test_memory_does_not_grow_over_epochs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{index}.png" for index in range(10)]
    for file in files[:-1]:
        Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8)).save(file, compress_level=0)
    files[-1].write_bytes(b"bad")
    settings = Data(cache="none", on_bad_image="skip")
    split = Split([file.name for file in files], np.arange(10), files.__getitem__, settings)
    held_bytes, decoded_bytes = [], 9 * 300 * 300 * 4
    for number in range(50):
        for _ in Loader(4, 64, 2, 60).batches(split, draw_epoch(10, (73, 146), 0, number), 0):
            pass
        held_bytes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert max(held_bytes[30:]) - max(held_bytes[:20]) < 2 * decoded_bytes, "20 epochs decode 20 times as much"
    assert threading.active_count() < 20, "threads end with their epoch"


def test_an_image_that_never_comes_is_named_and_does_not_keep_the_process(split: Split) -> None:
    def hang(index: int) -> np.ndarray:
        time.sleep(1000)
        raise AssertionError

    hanging = Split(split.ids, split.labels_N, hang)
    began = time.monotonic()
    with pytest.raises(RunError, match=r"was not read within 0.1 s: its disk may hang; copy the set"):
        epoch(hanging, timeout_seconds=0.1)
    assert time.monotonic() - began < 5


def test_a_later_start_gives_the_rest_of_the_same_epoch(split: Split) -> None:
    assert same(epoch(split, first=2), epoch(split)[2:])


def test_views_are_channels_last_already(split: Split) -> None:
    images_NCHW = epoch(split)[0].images_NCHW
    assert images_NCHW.shape == (5, 3, 64, 64)
    assert images_NCHW.is_contiguous(memory_format=torch.channels_last)


def test_a_last_batch_that_wraps_is_filled_with_the_epochs_first_images(split: Split) -> None:
    short = epoch(split)
    wrapped = list(Loader(5, 64, 2, 60, wraps=True).batches(split, draw_epoch(NUM_IMAGES, (73, 146), 0, 4), 0))
    assert same(wrapped[:-1], short[:-1])
    assert [len(batch.labels_N) for batch in short] == [5, 5, 5, 5, 3]
    assert torch.equal(wrapped[-1].labels_N, torch.cat([short[-1].labels_N, short[0].labels_N[:2]]))
    assert torch.equal(wrapped[-1].images_NCHW[3:], short[0].images_NCHW[:2])
    assert (wrapped[-1].size, wrapped[-1].num_images) == (5, 5)
