"""Test protocols as means of posteriors on disk (Sect. 3.2, 4.3, 4.4). Axes: N images, K classes.

Soft-max posteriors are averaged, never logits, level by level: over the image and its flip, over the scales Q with
equal weight, over dense and multi-crop, over nets.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.errors import RunError
from vgg_sweep.protocols.methods import METHODS, averaged
from vgg_sweep.protocols.scored import Scored
from vgg_sweep.protocols.seals import unsealed

CHUNK_ELEMENTS = 2**20
"""Posteriors are read this many numbers at a time, so memory does not grow with the number of images."""


@dataclass(frozen=True)
class Protocol:
    """A method at one or more test scales Q in pixels."""

    method: str
    test_scales: tuple[int, ...]


class Posteriors(Scored):
    """The posteriors of one run on disk."""

    @cached_property
    def manifest_stat(self) -> list[int]:
        """Changes when the manifest is replaced, and is had without reading it: a manifest names every image."""
        stat = (self.folder / "manifest.json").stat()
        return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]

    @property
    def newest_ns(self) -> int:
        """When a file of posteriors was last written; 0 if none is there."""
        return max((file.stat().st_mtime_ns for file in self.folder.glob("*.npy")), default=0)

    @cached_property
    def remembered(self) -> dict[str, Any]:
        """`errors.json` of the last report; empty if it is missing or damaged."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return unsealed((self.folder / "errors.json").read_bytes())
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """Of the manifest, which holds the hashes of all posteriors."""
        if self.remembered.get("manifest_stat") == self.manifest_stat:
            return str(self.remembered.get("fingerprint"))
        return super().fingerprint

    @cached_property
    def scored_on(self) -> str:
        """Fingerprint of the images, labels and classes: runs that share it can be compared image by image."""
        parts = [self.manifest[name] for name in ("images", "labels", "classes")]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def _hashed(self) -> dict[str, tuple[Any, int]]:
        """File name -> the hash of what was read of it from its beginning, and how many rows these are."""
        return {}

    def chunks(self) -> Iterator[slice]:
        """Slices of the rows, small enough to hold a few of at a time."""
        step = max(1, CHUNK_ELEMENTS // self.num_classes)
        for start in range(0, self.num_images, step):
            yield slice(start, min(start + step, self.num_images))

    def test_scales(self, method: str) -> list[int]:
        """The Q in pixels at which `method` can be evaluated: all its halves are there."""
        halves = [(each, flip) for each in averaged(method) for flip in METHODS[each].flips]
        sizes = sorted({Q for _, Q, _ in self.files})
        return [Q for Q in sizes if all((each, Q, flip) in self.files for each, flip in halves)]

    def has(self, protocol: Protocol) -> bool:
        return set(protocol.test_scales) <= set(self.test_scales(protocol.method))

    def read(self, method: str, Q: int, flip: bool, rows: slice) -> NDArray[np.float64]:
        """Some rows of one file, [rows, K]. Raises `RunError` if it is missing, cut off or of another shape, and, once
        all rows were read in their order, if it is not the file that was scored.
        """
        entry = self.files[method, Q, flip]
        path = self.folder / entry["file"]
        try:
            posteriors_NK = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise self.unreadable(entry, error) from error
        expected = (self.num_images, self.num_classes)
        if posteriors_NK.shape != expected:
            raise self.unreadable(entry, f"it is {posteriors_NK.shape}, not {expected} (images, classes)")
        some_NK = posteriors_NK[rows]
        self._verify(entry, some_NK, rows, header_bytes=posteriors_NK.offset)
        return np.asarray(some_NK, dtype=np.float64)

    def _verify(self, entry: dict[str, Any], some_NK: NDArray[np.floating], rows: slice, header_bytes: int) -> None:
        """Hash a file while it is read for its posteriors anyway, and compare at its end."""
        path = self.folder / entry["file"]
        if rows.start == 0:
            with open(path, "rb") as file:
                self._hashed[path.name] = hashlib.sha256(file.read(header_bytes)), 0
        sha256, num_rows = self._hashed.get(path.name, (None, -1))
        if num_rows != rows.start:
            return
        sha256.update(some_NK)
        self._hashed[path.name] = sha256, rows.stop
        if rows.stop == self.num_images and sha256.hexdigest() != entry["sha256"]:
            raise self.unreadable(entry, "its sha256 is not that in manifest.json")


def mean(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of posteriors [N, K]. In float64, so that a mean of equal float32 parts is the part itself."""
    first, *others = parts
    total_NK = first.copy()
    for part_NK in others:
        total_NK += part_NK
    return total_NK / (1 + len(others))


def posteriors_at(posteriors: Posteriors, method: str, Q: int, rows: slice) -> NDArray[np.float64]:
    """Posteriors of one method at one Q: the mean over flips and, for "multi-crop & dense", over the two methods."""
    return mean(mean(posteriors.read(each, Q, flip, rows) for flip in METHODS[each].flips) for each in averaged(method))


def protocol_posteriors(posteriors: Posteriors, protocol: Protocol, rows: slice) -> NDArray[np.float64]:
    """Posteriors [rows, K] of a run under a protocol; every scale weighs the same, however many crops it has."""
    return mean(posteriors_at(posteriors, protocol.method, Q, rows) for Q in protocol.test_scales)


def fused_posteriors(members: Sequence[tuple[Posteriors, Protocol]], rows: slice) -> NDArray[np.float64]:
    """The mean over nets (Sect. 4.4), summed in a fixed order, so that the order of `members` does not matter."""
    in_order = sorted(members, key=lambda member: str(member[0].folder))
    return mean(protocol_posteriors(posteriors, protocol, rows) for posteriors, protocol in in_order)


def check_same_images(runs: Sequence[Posteriors]) -> None:
    """Raise `RunError`, saying what differs, unless all were scored on the same images, labels and classes."""
    first = runs[0]
    for other in runs[1:]:
        if other.scored_on == first.scored_on:
            continue
        for name in ("classes", "images", "labels"):
            if (difference := _difference(first.manifest[name], other.manifest[name])) is not None:
                raise RunError(
                    f"{first.folder.parent.name} and {other.folder.parent.name} were scored on different {name} "
                    f"({difference}), so they cannot be compared; score one again on the other's data, "
                    f"or give it a sweep folder of its own with out=DIR."
                )


def _difference(ours: list[Any], theirs: list[Any]) -> str | None:
    if len(ours) != len(theirs):
        return f"{len(ours)} and {len(theirs)}"
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            return f"number {index} is {a!r} in one and {b!r} in the other"
    return None
