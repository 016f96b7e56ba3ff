"""What the images of a set hold, told from a few of them: other images under the same names and of the same sizes, as
uncompressed ones are, have another digest.
"""

import hashlib
from pathlib import Path

import numpy as np

from vgg_sweep.images.decode import Stretch
from vgg_sweep.images.sets.splits import Split

SAMPLED = 64
"""Images of a split that are looked into, evenly spaced: all of them in a small set."""
SAMPLED_BYTES = 2**16
"""Of each, from its middle on, where there are neither headers nor margins."""


def contents(split: Split) -> str:
    """A digest of a sample of the image files; empty for arrays, whose set is known by a digest of all pixels.

    Raises `RunError` naming an image that its disk does not give.
    """
    digest = hashlib.sha256()
    for index in np.unique(np.linspace(0, len(split) - 1, min(SAMPLED, len(split)), dtype=np.int64)).tolist():
        with split.named(index):
            match split.stored(index):
                case Path() as path:
                    digest.update(_middle(Stretch(path, 0, path.stat().st_size)))
                case Stretch() as stretch:
                    digest.update(_middle(stretch))
                case _:
                    return ""
    return digest.hexdigest()


def _middle(stretch: Stretch) -> bytes:
    half = max(0, stretch.num_bytes - SAMPLED_BYTES) // 2
    with open(stretch.file, "rb", buffering=0) as file:
        file.seek(stretch.offset + half)
        return file.read(min(stretch.num_bytes, SAMPLED_BYTES))
