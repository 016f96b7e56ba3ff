"""Work done in chunks of images, by one process or several: a file for each chunk and each result wanted, from which a
killed command continues.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.machine.ranks import Ranks
from vgg_sweep.runs.files import atomic_path, read_json, write_json
from vgg_sweep.runs.progress import Reporter

CHUNK = 250
"""Images between two points at which a killed scoring can go on."""
CLOCK = "seconds.json"
"""What the parts have taken that are there."""


class Named(Protocol):
    """A pass, a feature: what has a file of its own."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)
Rows = np.ndarray | dict[str, np.ndarray]
"""Of images, one array or several by their names: a .npy or a .npz."""


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

    def fill(
        self,
        rows_of: Callable[[range, list[T]], Iterable[Mapping[T, Rows]]],
        reporter: Reporter,
        ranks: Ranks,
        stage: str,
        cost: Callable[[T], float] = lambda each: 1.0,
        **figures: float,
    ) -> float | None:
        """Have `rows_of` compute what each chunk lacks, of this rank's images, some things at a time; rank 0 gathers
        and writes them, and between two times the work can be stopped. `cost` says how the things share the time of a
        chunk, for the progress. Returns the seconds that all parts have taken, interruptions left out; None if some lie
        there untimed.

        Raises `Interrupted` when asked to stop.
        """
        began, earlier, num_made = time.monotonic(), read_json(self.folder / CLOCK).get("seconds"), 0

        def seconds() -> float:
            return time.monotonic() - began

        for number, chunk in enumerate(self.chunks, start=1):
            if todo := self.missing(chunk):
                share, total = 0.0, sum(map(cost, todo))
                for rows in rows_of(ranks.share(chunk), todo):
                    for each, own in rows.items():
                        if (gathered := _gathered(own, ranks)) is not None:
                            save(self.file(each, chunk), gathered)
                            write_json(self.folder / CLOCK, {"seconds": seconds() + (earlier or 0.0)})
                    share += sum(map(cost, rows)) / total
                    reporter.step(stage, chunk.start + int(len(chunk) * share), self.num_images, **figures)
                    if ranks.must_stop(reporter):
                        reporter.check_stop()
                num_made += 1
            eta_seconds = round(seconds() / max(num_made, 1) * (len(self.chunks) - number))
            reporter.step(stage, chunk.stop, self.num_images, **figures, eta_seconds=eta_seconds)
        return seconds() + (earlier or 0.0) if earlier is not None or num_made == len(self.chunks) else None

    def join(self, each: T, target: Path) -> None:
        """Put all of one thing wanted into one .npy, a chunk in memory at a time."""
        first = np.load(self.files(each)[0], mmap_mode="r")
        shape = (self.num_images, *first.shape[1:])
        header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
        with atomic_path(target) as temporary, open(temporary, "wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            for file in self.files(each):
                out.write(np.load(file).data)


def origin(manifest: Mapping[str, Any], hardware: Hardware, chunk: int = 0) -> str:
    """Names the folder of parts that may stand side by side: of the same weights, images and arithmetic, in chunks of
    the same size.
    """
    names = ("weights_fingerprint", "data_fingerprint", "boxes_fingerprint")
    of = [*(manifest[name] for name in names if name in manifest), hardware.precision, hardware.tf32, chunk or CHUNK]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


def _gathered(own: Rows, ranks: Ranks) -> Rows | None:
    """The rows of all ranks, at rank 0; None elsewhere."""
    if not isinstance(own, dict):
        return ranks.gather(own)
    gathered = {name: ranks.gather(array) for name, array in own.items()}
    return {name: array for name, array in gathered.items() if array is not None} or None


def save(file: Path, what: Rows) -> None:
    """Write an array as .npy, or several by their names as .npz."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()  # straight to a file, numpy would not say that the disk is full
    if isinstance(what, dict):
        np.savez(content, **what)  # type: ignore[arg-type]
    else:
        np.save(content, what)
    with atomic_path(file) as temporary:
        temporary.write_bytes(content.getbuffer())
