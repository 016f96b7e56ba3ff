"""What a scoring has made so far: a file for each pass and chunk of images, at which a killed one goes on."""

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.progress import Reporter

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

    def fill(self, make: Callable[[range, list[Pass]], None], reporter: Reporter) -> int:
        """Have `make` write the files that a chunk lacks, chunk by chunk. Returns how many chunks lacked any."""
        began, num_made = time.monotonic(), 0
        for number, chunk in enumerate(self.chunks, start=1):
            if todo := self.missing(chunk):
                make(chunk, todo)
                num_made += 1
            reporter.step(
                "score",
                chunk.stop,
                self.num_images,
                passes=len(self.passes),
                eta_seconds=round((time.monotonic() - began) / max(num_made, 1) * (len(self.chunks) - number)),
            )
        return num_made


def origin(*of: Any) -> str:
    """Names the folder of parts that may stand side by side: `of` the same weights, images and arithmetic, in chunks of
    the same size.
    """
    return hashlib.sha256(json.dumps([*of, CHUNK]).encode()).hexdigest()[:16]


def save(file: Path, what: np.ndarray | Mapping[str, np.ndarray]) -> None:
    """Write an array as .npy, or several by their names as .npz."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()  # straight to a file, numpy would not say that the disk is full
    if isinstance(what, Mapping):
        np.savez(content, **what)  # type: ignore[arg-type]
    else:
        np.save(content, what)
    with atomic_path(file) as temporary:
        temporary.write_bytes(content.getbuffer())
