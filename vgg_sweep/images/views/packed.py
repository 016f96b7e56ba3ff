"""data.cache=packed: the training images in a few large files, for slow disks and for many runs of a sweep.

A shard is a file of image files one after another, and beside it their ends and checksums. An image much larger than
the largest S needs is kept smaller; docs/loader.md has how far its views are from the exact ones. The folder is named
after the data's fingerprint and that S, so that other data or another S have shards of their own; runs share them, one
makes them while the others wait, and what is there when it is interrupted stays.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from vgg_sweep.errors import RunError
from vgg_sweep.images.decode import BadImage, Stretch, decoded, encoded, size_px
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.crops import rescaled_size
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.folder import waiting_lock

IMAGES_PER_SHARD = 4096
SHRINK_FROM = 1.25
"""Images whose smaller side is this many times the largest S are kept at that S; nearer ones would lose more than the
decoder gains.
"""
BLOCK = 64
"""Images that are in memory at once while shards are made."""
JPEG_QUALITY = 95
"""Of images kept smaller, without chroma subsampling."""


def packed(
    split: Split,
    fingerprint: str,
    largest_S_px: int,
    cache: Path,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Split:
    """The same split, read from the shards in `cache`, which are made if they are missing or not whole.

    A split whose pixels lie in an array is returned as it is. Raises `RunError` naming an image that its disk does not
    give; an image that cannot be decoded goes into the shards as it is.
    """
    if isinstance(split.stored(0), np.ndarray):
        return split
    origin = [1, fingerprint, largest_S_px, SHRINK_FROM, JPEG_QUALITY, IMAGES_PER_SHARD, split.settings.exif_rotation]
    folder = cache / f"packed-{hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:12]}"
    indices = range(len(split))
    with waiting_lock(folder / "lock"), ThreadPoolExecutor(workers) as pool:
        for first in indices[::IMAGES_PER_SHARD]:
            shard = indices[first : first + IMAGES_PER_SHARD]
            if not _is_whole(_file(folder, first), len(shard)):
                blocks = (shard[start : start + BLOCK] for start in range(0, len(shard), BLOCK))
                kept = partial(_kept, split, largest_S_px=largest_S_px)
                files = (data for block in blocks for data in pool.map(kept, block))
                _write(_file(folder, first), _counted(files, first, len(split), progress))
    ends_and_sums = [np.load(_file(folder, first).with_suffix(".npy")) for first in indices[::IMAGES_PER_SHARD]]

    def stored(index: int) -> bytes:
        number, place = divmod(index, IMAGES_PER_SHARD)
        shard, ends_N2 = _file(folder, number * IMAGES_PER_SHARD), ends_and_sums[number]
        start = int(ends_N2[place - 1, 0]) if place else 0
        data = encoded(Stretch(shard, start, int(ends_N2[place, 0]) - start))
        if zlib.crc32(data) != ends_N2[place, 1]:
            shard.with_suffix(".npy").unlink(missing_ok=True)
            raise RunError(f"{shard} is damaged (the checksum of an image is wrong); the same command packs it anew.")
        return data

    return replace(split, stored=stored, bad={}, _decoded={})


def _file(folder: Path, first: int) -> Path:
    return folder / f"{first:09d}.images"


def _is_whole(shard: Path, num_images: int) -> bool:
    """The ends and checksums are written last; the images must be as long as they say."""
    ends = shard.with_suffix(".npy")
    if not (ends.exists() and shard.exists()):
        return False
    ends_N2 = np.load(ends)
    return len(ends_N2) == num_images and shard.stat().st_size == ends_N2[-1, 0]


def _write(shard: Path, files: Iterable[bytes]) -> None:
    ends_N2, end = [], 0
    with atomic_path(shard) as temporary, open(temporary, "wb") as out:
        for data in files:
            end += out.write(data)
            ends_N2.append((end, zlib.crc32(data)))
    with atomic_path(shard.with_suffix(".npy")) as temporary, open(temporary, "wb") as out:
        np.save(out, np.array(ends_N2, np.int64))


def _kept(split: Split, index: int, *, largest_S_px: int) -> bytes:
    """The image's file, or a smaller one if it is much larger than needed."""
    data, exif_rotation = split.encoded(index), split.settings.exif_rotation
    try:
        if min(size_px(data)) < SHRINK_FROM * largest_S_px:
            return data
        image = decoded(data, exif_rotation=exif_rotation)
    except BadImage:
        return data
    smaller = image.resize(rescaled_size(*image.size, largest_S_px), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    smaller.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return out.getvalue()


def _counted(
    files: Iterable[bytes], done: int, total: int, progress: Callable[[int, int], None] | None
) -> Iterator[bytes]:
    for number, data in enumerate(files, start=done + 1):
        if progress is not None:
            progress(number, total)
        yield data
