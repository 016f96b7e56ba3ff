"""Annotations matched with the images of a set.

Axes: N images, B boxes.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.annotations import Annotation, annotations_in
from vgg_sweep.images.sets.index import ProgressCallback
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.localise.boxes import Boxes


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one image, its boxes, or one class."""

    kind: str
    """One of `images.check.check.KINDS`."""
    split: str
    id: str
    """Of the image; the class of an imbalance."""
    detail: str


@dataclass(frozen=True)
class SetBoxes:
    """The boxes of both splits."""

    train: Boxes
    val: Boxes
    blacklisted_N: np.ndarray
    """Validation images that ILSVRC's list leaves out of localisation."""
    fingerprint: str
    """Of all boxes."""
    notes: tuple[str, ...] = ()
    """What was noticed, a sentence each."""
    faults: tuple[Problem, ...] = ()

    @staticmethod
    def of(train: Boxes, val: Boxes, notes: Sequence[str] = (), faults: Sequence[Problem] = ()) -> "SetBoxes":
        """Without a blacklist."""
        digest = hashlib.sha256()
        for boxes in (train, val):
            for array in (boxes.boxes_B4, boxes.labels_B, boxes.ends_N):
                digest.update(array.tobytes())
        return SetBoxes(train, val, np.zeros(len(val), bool), digest.hexdigest(), tuple(notes), tuple(faults))

    @property
    def splits(self) -> dict[str, Boxes]:
        return {"train": self.train, "val": self.val}


def matched_boxes(data: Data, images: ImageSet, paths: Sequence[Path], progress: ProgressCallback) -> SetBoxes:
    """The boxes that the files at `paths` draw on `images`. Raises `ConfigError` if there are none, or as
    `annotations_in`.
    """
    matching = _Matching(images)
    for path in paths:
        for annotation in annotations_in(path, progress):
            matching.enter(annotation)
    kept = [corners for found in matching.found.values() for boxes in found for _, corners in boxes]
    if not kept:
        raise ConfigError(_why_none(paths, matching))
    is_xml = any(path.suffix.lower() not in (".csv", ".txt") for path in paths)
    begins_at_0 = any(0 <= first < 1 for corners in kept for first in corners[:2])  # below 0 is a fault
    counted_from = 1 if is_xml and data.source != "imagenet" and not begins_at_0 else 0
    train, val = (matching.boxes(name, counted_from) for name in images.splits)
    notes = []
    for (name, split), boxes in zip(images.splits.items(), (train, val), strict=True):
        has_N = boxes.has(split.labels_N)
        notes.append(f"boxes of their class: {has_N.sum():,} of {len(has_N):,} {name} images")
    if counted_from == 1:
        notes.append("no box begins at pixel 0, so they are taken to count from 1, as VOC's do")
    return SetBoxes.of(train, val, notes + matching.left_out(), matching.faults)


class _Matching:
    """The images of a set, and what was drawn on them so far."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images
        self.labels = {name: label for label, name in enumerate(images.classes)}
        self.found: dict[str, list[list[tuple[int, tuple[float, ...]]]]] = {}
        """Class and corners of each box of each image of a split, as its file counts them."""
        self.sizes_px: dict[str, list[tuple[int, int]]] = {}
        self.faults: list[Problem] = []
        self.strange: dict[str, None] = {}
        """Classes that the set has not."""
        self._by_stem: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, split in images.splits.items():
            self.found[name] = [[] for _ in range(len(split))]
            self.sizes_px[name] = [(0, 0)] * len(split)
            for row, id in enumerate(split.ids):
                self._by_stem[PurePosixPath(id).stem].append((name, row))

    def _id(self, split: str, row: int) -> str:
        return self.images.splits[split].ids[row]

    def _image(self, path: str) -> tuple[str, int] | None:
        """Split and row of the image that an annotation is of, by its name and, where several have it, the folders it
        lies in; None if no image, or more than one, fits.
        """
        own = PurePosixPath(path)
        candidates = self._by_stem.get(own.name, [])
        folders = set(own.parts[:-1])
        shared = [len(folders & set(PurePosixPath(self._id(*each)).parts[:-1])) for each in candidates]
        best = [each for each, num in zip(candidates, shared, strict=True) if num == max(shared)]
        return best[0] if len(best) == 1 else None

    def enter(self, annotation: Annotation) -> None:
        image = self._image(annotation.path)
        split, id = (image[0], self._id(*image)) if image else ("", annotation.path)

        def fault(kind: str, detail: str) -> None:
            self.faults.append(Problem(kind, split, id, detail))

        if annotation.error:
            fault("box-file", f"its annotation {annotation.error}")
        if image is None:
            fault("box-of-none", "no image of the set has this name, or several have")
            return
        row = image[1]
        self.sizes_px[split][row] = annotation.size_px
        for name, (x0, y0, x1, y1) in annotation.drawn:
            own = int(self.images.splits[split].labels_N[row]) if name is None else self.labels.get(name)
            if own is None:
                self.strange[str(name)] = None
                fault("box-class", f"a box of {name}, which is not a class of the set")
            elif x1 <= x0 or y1 <= y0:
                fault("box-empty", f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}")
            else:
                self.found[split][row].append((own, (x0, y0, x1, y1)))

    def boxes(self, split: str, counted_from: int) -> Boxes:
        lists = [[(label, [edge - counted_from for edge in corners]) for label, corners in boxes]
                 for boxes in self.found[split]]  # fmt: skip
        return Boxes.of_lists(lists, self.sizes_px[split])

    def left_out(self) -> list[str]:
        """What was left out, a sentence a kind."""
        words = {
            "box-file": "annotations that cannot be read",
            "box-of-none": "annotations of no image of the set",
            "box-class": f"boxes of classes that are not in the set, such as {next(iter(self.strange), '')}",
            "box-empty": "boxes of swapped corners or without area",
        }
        counts = Counter(fault.kind for fault in self.faults)
        return [f"left out: {num:,} {words[kind]}" for kind, num in sorted(counts.items())]


def _why_none(paths: Sequence[Path], matching: _Matching) -> str:
    where, images = " and ".join(map(str, paths)), matching.images
    if matching.strange:
        return (
            f"{where} has boxes of {', '.join(list(matching.strange)[:3])}, but the set's classes are "
            f"{', '.join(images.classes[:3])}; name the folders of the classes as the boxes do."
        )
    if of_none := [fault.id for fault in matching.faults if fault.kind == "box-of-none"]:
        return (
            f"{where} has boxes of {len(of_none)} images such as {of_none[0]}, none of which is in the set, whose "
            f"images are named as {images.val.ids[0]}; give the boxes of these images."
        )
    return f"{where} has no boxes; give data.boxes=PATH, a folder or tar of XML files, or a CSV."
