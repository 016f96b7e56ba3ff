"""What is computed chunk by chunk of images: a file for each chunk and each thing wanted, at which a kill goes on."""

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.progress import Reporter

CHUNK = 250
"""Images between two points at which a killed scoring can go on."""


class Named(Protocol):
    """A pass, a feature: what has a file of its own."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True)
class Parts(Generic[T]):
    """The files while they are being made."""

    folder: Path
    wanted: list[T]
    num_images: int
    suffix: str = ".npy"
    """Of the files, `.npy` or `.npz`."""
    chunk: int = 0
    """Images in one; 0 for `CHUNK`."""

    @property
    def chunks(self) -> list[range]:
        step = self.chunk or CHUNK
        return [range(start, min(start + step, self.num_images)) for start in range(0, self.num_images, step)]

    def file(self, each: T, chunk: range) -> Path:
        return self.folder / each.name / f"{chunk.start:09d}{self.suffix}"

    def files(self, each: T) -> list[Path]:
        """All of one thing wanted, in the order of the images."""
        return [self.file(each, chunk) for chunk in self.chunks]

    def missing(self, chunk: range) -> list[T]:
        return [each for each in self.wanted if not self.file(each, chunk).exists()]

    def fill(self, make: Callable[[range, list[T]], None], reporter: Reporter, stage: str, **figures: float) -> int:
        """Have `make` write the files that a chunk lacks, chunk by chunk. Returns how many chunks lacked any."""
        began, num_made = time.monotonic(), 0
        for number, chunk in enumerate(self.chunks, start=1):
            if todo := self.missing(chunk):
                make(chunk, todo)
                num_made += 1
            reporter.step(
                stage,
                chunk.stop,
                self.num_images,
                **figures,
                eta_seconds=round((time.monotonic() - began) / max(num_made, 1) * (len(self.chunks) - number)),
            )
        return num_made

    def join(self, each: T, target: Path) -> None:
        """Put all of one thing wanted into one .npy, a chunk in memory at a time."""
        first = np.load(self.files(each)[0], mmap_mode="r")
        shape = (self.num_images, *first.shape[1:])
        header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
        with atomic_path(target) as temporary, open(temporary, "wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            for file in self.files(each):
                out.write(np.load(file).data)


def origin(*of: Any, chunk: int = 0) -> str:
    """Names the folder of parts that may stand side by side: `of` the same weights, images and arithmetic, in chunks of
    the same size.
    """
    return hashlib.sha256(json.dumps([*of, chunk or CHUNK]).encode()).hexdigest()[:16]


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
