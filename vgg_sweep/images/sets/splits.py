"""An image set: a training and a validation split with their classes.

Axes: N images of a split, C = 3 colours.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import RunError
from vgg_sweep.images import decode
from vgg_sweep.images.decode import BadImage, ByteRange, Stored

MEMORY_SHARE = 0.2
"""Of the free memory, which the decoded images of a split may take under data.cache=auto."""
NUM_SIZED = 64
"""Images of a split that are asked for their size to estimate how much memory all would take."""
BYTES_PER_PX = 4
"""Of an RGB image in Pillow."""
SAMPLED = 64
"""Images of a split that are looked into, evenly spaced: all of them in a small set."""
SAMPLED_BYTES = 2**16
"""Of each, from its middle on, where there are neither headers nor margins."""


@dataclass
class Split:
    """The images of one split, in a fixed order."""

    ids: Sequence[str]
    labels_N: np.ndarray
    stored: Callable[[int], Stored]
    """Finds image i, which is not decoded."""
    settings: Data = field(default_factory=Data)
    """How the images are read."""
    bad: dict[int, str] = field(default_factory=dict)
    """Images that could not be read, and why: filled by those who go on without them."""
    _decoded: dict[int, Image.Image] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, rows_N: np.ndarray) -> "Split":
        """Some of the images, by their rows."""
        ids, stored = [self.ids[int(row)] for row in rows_N], self.stored
        return Split(ids, self.labels_N[rows_N], lambda index: stored(int(rows_N[index])), self.settings)

    def size_px(self, index: int) -> tuple[int, int]:
        """Width and height of the image at `index`, from its header. Raises as `image` does."""
        with self.named(index):
            return decode.size_px(self.stored(index), exif_rotation=self.settings.exif_rotation)

    def image(self, index: int) -> Image.Image:
        """The RGB image at `index`, at its own size, EXIF rotation ignored unless data.exif_rotation asks for it.

        Raises `BadImage` naming an image that cannot be decoded, `RunError` if its disk does not give it.
        """
        if (known := self._decoded.get(index)) is not None:
            return known
        with self.named(index):
            image = decode.decoded(self.stored(index), exif_rotation=self.settings.exif_rotation)
        if self.keeps_decoded:
            self._decoded[index] = image
        return image

    def image_or_none(self, index: int) -> Image.Image | None:
        """The image at `index`, or None if it cannot be decoded and data.on_bad_image allows continuing without it."""
        try:
            return self.image(index)
        except BadImage as error:
            self.leave_out(index, error)
            return None

    def leave_out(self, index: int, error: BadImage) -> None:
        """Remember that the image is left out; raises `error` if data.on_bad_image does not allow it."""
        if self.settings.on_bad_image == "error":
            raise error
        self.bad[index] = str(error.__cause__ or error)

    @cached_property
    def keeps_decoded(self) -> bool:
        """Whether images stay in memory once they are decoded: all of them or none.

        Raises `RunError` if data.cache=memory wants more than there is.
        """
        if self.settings.cache == "none":
            return False
        areas_px = [width * height for width, height in self.some_sizes_px()]
        needed_bytes, free_bytes = BYTES_PER_PX * len(self) * float(np.mean(areas_px or [0])), free_memory_bytes()
        if self.settings.cache == "memory":
            if needed_bytes > free_bytes:
                raise RunError(
                    f"data.cache=memory needs {needed_bytes / 1e9:.1f} GB for {len(self)} decoded images, and "
                    f"{free_bytes / 1e9:.1f} GB are free; use data.cache=auto or none."
                )
            return True
        return needed_bytes < MEMORY_SHARE * free_bytes

    def some_sizes_px(self) -> list[tuple[int, int]]:
        """Width and height of some images, to estimate what all are."""
        sizes_px = []
        for index in spaced(len(self), NUM_SIZED):
            with suppress(BadImage):
                sizes_px.append(self.size_px(int(index)))
        return sizes_px

    @contextmanager
    def named(self, index: int) -> Iterator[None]:
        """Name the image at `index` in what goes wrong with it."""
        try:
            yield
        except BadImage as error:
            raise BadImage(
                f"{self.ids[index]} cannot be read as an image ({error}); fix it, remove it from the set, or skip "
                "such images with data.on_bad_image=skip."
            ) from error
        except OSError as error:
            raise RunError(decode.disk_sentence(self.ids[index], error)) from error


@dataclass(frozen=True)
class ImageSet:
    """What a net is trained and scored on."""

    train: Split
    val: Split
    classes: list[str]
    fingerprint: str
    """Identifies the data: hash of the classes, ids and file sizes, or of the formula's settings."""
    notes: tuple[str, ...] = ()
    """What was noticed when the files were listed, a sentence each."""

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "val": self.val}

    def read_as(self, settings: Data) -> "ImageSet":
        """The same images, read as `settings` say."""
        train, val = (replace(split, settings=settings, bad={}, _decoded={}) for split in (self.train, self.val))
        return replace(self, train=train, val=val)


def free_memory_bytes() -> int:
    """Available memory, within a container's limit: on Linux including the page cache."""
    facts = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: *(\d+) kB", facts.read_text(encoding="utf-8")) if facts.exists() else None
    free = 1024 * int(found[1]) if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (allowed := limit.read_text(encoding="utf-8").strip()) != "max":
        free = min(free, int(allowed) - int(used.read_text(encoding="utf-8")))
    return free


def contents(split: Split) -> str:
    """A digest of a sample of the image files; empty for arrays, whose set is known by a digest of all pixels.

    Raises `RunError` naming an image that its disk does not give.
    """
    digest = hashlib.sha256()
    for index in spaced(len(split), SAMPLED).tolist():
        with split.named(index):
            match split.stored(index):
                case Path() as path:
                    digest.update(_middle(ByteRange(path, 0, path.stat().st_size)))
                case ByteRange() as stretch:
                    digest.update(_middle(stretch))
                case _:
                    return ""
    return digest.hexdigest()


def _middle(stretch: ByteRange) -> bytes:
    half = max(0, stretch.num_bytes - SAMPLED_BYTES) // 2
    with open(stretch.file, "rb", buffering=0) as file:
        file.seek(stretch.offset + half)
        return file.read(min(stretch.num_bytes, SAMPLED_BYTES))


def sampled(images: ImageSet, num_train: int, num_val: int) -> ImageSet:
    """At most so many training and validation images, evenly spaced in their order; all classes stay."""
    numbers = ((images.train, num_train), (images.val, num_val))
    train, val = (split.chosen(spaced(len(split), number)) for split, number in numbers)
    return replace(images, train=train, val=val, fingerprint=f"{images.fingerprint} by {num_train} and {num_val}")


def spaced(length: int, number: int) -> np.ndarray:
    """At most so many of the rows 0 to `length`, evenly spaced."""
    return np.unique(np.linspace(0, length - 1, min(number, length), dtype=np.int64))
