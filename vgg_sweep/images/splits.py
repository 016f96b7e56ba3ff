"""An image set: a training and a validation split with their classes.

Axes: N images of a split, H W pixels, C = 3 colours.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vgg_sweep.config import RunError

DECODED_BYTES = 2 * 1024**3
"""Decoded images of a split are kept in memory up to this size."""


class Stretch(NamedTuple):
    """An image file that is a part of another file, such as a tar."""

    file: Path
    offset: int
    num_bytes: int

    def read(self) -> bytes:
        with open(self.file, "rb", buffering=0) as file:
            file.seek(self.offset)
            return file.read(self.num_bytes)


Stored = Path | Stretch | bytes | np.ndarray
"""What there is of an image: an image file, wherever it lies, or uint8 RGB pixels HWC."""


@dataclass
class Split:
    """The images of one split, in a fixed order."""

    ids: Sequence[str]
    labels_N: np.ndarray
    stored: Callable[[int], Stored]
    """Finds image i, which is not decoded."""
    _decoded: dict[int, Image.Image] = field(default_factory=dict)
    _decoded_bytes: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def size_px(self, index: int) -> tuple[int, int]:
        """Width and height of the image at `index`, from its header. Raises `RunError` as `image` does."""
        with self._opened(index) as image:
            return image.size

    def image(self, index: int) -> Image.Image:
        """The RGB image at `index`, at its own size, EXIF rotation ignored as is the practice for ImageNet.

        Raises `RunError` naming an image that cannot be read.
        """
        if (known := self._decoded.get(index)) is not None:
            return known
        with self._opened(index) as opened:
            image = opened.convert("RGB")
        if self._decoded_bytes < DECODED_BYTES:
            self._decoded[index] = image
            self._decoded_bytes += 3 * image.width * image.height
        return image

    @contextmanager
    def _opened(self, index: int) -> Iterator[Image.Image]:
        try:
            with _open(self.stored(index)) as image:
                yield image
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise RunError(
                f"{self.ids[index]} cannot be read as an image ({error}); mend it or remove it from the set."
            ) from error


@dataclass(frozen=True)
class ImageSet:
    """What a net is trained and scored on."""

    train: Split
    val: Split
    classes: list[str]
    fingerprint: str
    """Identifies the data: hash of the classes, ids and file sizes, or of the formula's settings."""


def _open(stored: Stored) -> Image.Image:
    match stored:
        case np.ndarray():
            return Image.fromarray(stored)
        case Path():
            return Image.open(stored)
        case Stretch():
            return Image.open(io.BytesIO(stored.read()))
        case bytes():
            return Image.open(io.BytesIO(stored))
