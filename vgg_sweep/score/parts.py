"""What a scoring has made so far: a file for each pass and chunk of images, at which a killed one goes on."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgg_sweep.protocols.passes import Pass

CHUNK = 250
"""Images between two points at which a killed scoring can go on."""


@dataclass(frozen=True)
class Parts:
    """The files of a scoring while it is being made."""

    folder: Path
    passes: list[Pass]
    num_images: int
    suffix: str
    """Of the files, `.npy` or `.npz`."""

    @property
    def chunks(self) -> list[range]:
        return [range(start, min(start + CHUNK, self.num_images)) for start in range(0, self.num_images, CHUNK)]

    def file(self, each: Pass, chunk: range) -> Path:
        return self.folder / each.name / f"{chunk.start:09d}{self.suffix}"

    def files(self, each: Pass) -> list[Path]:
        """All of a pass, in the order of the images."""
        return [self.file(each, chunk) for chunk in self.chunks]

    def missing(self, chunk: range) -> list[Pass]:
        return [each for each in self.passes if not self.file(each, chunk).exists()]


def origin(*of: Any) -> str:
    """Names the folder of parts that may stand side by side: `of` the same weights, images and arithmetic, in chunks of
    the same size.
    """
    return hashlib.sha256(json.dumps([*of, CHUNK]).encode()).hexdigest()[:16]
