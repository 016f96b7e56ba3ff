"""Annotations matched with the images of a set.

Axes: N images, B boxes.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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


@dataclass
class _Matched:
    """Boxes as they are matched with images: split -> image -> (class, corners as the file counts them)."""

    found: dict[str, dict[int, list[tuple[int, tuple[float, ...]]]]]
    sizes: dict[str, dict[int, tuple[int, int]]]
    faults: list[Problem] = field(default_factory=list)
    num_left_out: Counter[str] = field(default_factory=Counter)
    strange: Counter[str] = field(default_factory=Counter)
    """Classes that the set has not."""


def fingerprint(parts: Iterable[Boxes]) -> str:
    digest = hashlib.sha256()
    for boxes in parts:
        for array in (boxes.boxes_B4, boxes.labels_B, boxes.ends_N):
            digest.update(array.tobytes())
    return digest.hexdigest()


def matched_boxes(data: Data, images: ImageSet, paths: Sequence[Path], progress: ProgressCallback) -> SetBoxes:
    matched = _Matched({"train": {}, "val": {}}, {"train": {}, "val": {}})
    finder = _Finder(images)
    names = {name: label for label, name in enumerate(images.classes)}
    is_xml = False
    for path in paths:
        is_xml = is_xml or path.suffix.lower() not in (".csv", ".txt")
        for annotation in annotations_in(path, progress):
            _enter(matched, finder, names, images, annotation)
    kept = [box for split in matched.found.values() for boxes in split.values() for _, box in boxes]
    if not kept:
        raise ConfigError(_why_none(paths, matched, images))
    begins_at_0 = any(0 <= first < 1 for box in kept for first in box[:2])  # below 0 is a fault
    counted_from = 1 if is_xml and data.source != "imagenet" and not begins_at_0 else 0
    boxes = {}
    for name, split in images.splits.items():
        found, sizes = matched.found[name], matched.sizes[name]
        lists = [[(label, [each - counted_from for each in box]) for label, box in found.get(row, [])]
                 for row in range(len(split))]  # fmt: skip
        boxes[name] = Boxes.of_lists(lists, [sizes.get(row, (0, 0)) for row in range(len(split))])
    notes = _notes(matched, images, boxes, counted_from)
    return SetBoxes(
        boxes["train"],
        boxes["val"],
        np.zeros(len(images.val), bool),
        fingerprint(boxes.values()),
        tuple(notes),
        tuple(matched.faults),
    )


class _Finder:
    """Finds the image that an annotation is of, by its name and, where several have it, the folders it lies in."""

    def __init__(self, images: ImageSet) -> None:
        self.ids = {name: split.ids for name, split in images.splits.items()}
        self.by_stem: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for split, ids in self.ids.items():
            for row, id in enumerate(ids):
                self.by_stem[PurePosixPath(id).stem].append((split, row))

    def find(self, path: str) -> tuple[str, int] | None:
        """Split and row; None if no image, or more than one, fits."""
        own = PurePosixPath(path)
        candidates = self.by_stem.get(own.name, [])
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        folders = set(own.parts[:-1])
        shared = [len(folders & set(PurePosixPath(self.ids[split][row]).parts[:-1])) for split, row in candidates]
        best = [each for each, num in zip(candidates, shared, strict=True) if num == max(shared)]
        return best[0] if len(best) == 1 else None


def _enter(matched: _Matched, finder: _Finder, names: dict[str, int], images: ImageSet, annotation: Annotation) -> None:
    def fault(kind: str, detail: str) -> None:
        matched.faults.append(Problem(kind, split, id, detail))
        matched.num_left_out[kind] += 1

    found = finder.find(annotation.path)
    split, id = (found[0], finder.ids[found[0]][found[1]]) if found else ("", annotation.path)
    if annotation.error:
        fault("box-file", f"its annotation {annotation.error}")
    if found is None:
        fault("box-of-none", "no image of the set has this name, or several have")
        return
    row = found[1]
    label = int(images.splits[split].labels_N[row])
    matched.sizes[split][row] = annotation.size_px
    for drawn in annotation.drawn:
        x0, y0, x1, y1 = drawn.corners
        own = label if drawn.name is None else names.get(drawn.name)
        if own is None:
            matched.strange[str(drawn.name)] += 1
            fault("box-class", f"a box of {drawn.name}, which is not a class of the set")
        elif x1 <= x0 or y1 <= y0:
            fault("box-empty", f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}")
        else:
            matched.found[split].setdefault(row, []).append((own, drawn.corners))


def _why_none(paths: Sequence[Path], matched: _Matched, images: ImageSet) -> str:
    where = " and ".join(map(str, paths))
    if matched.strange:
        return (
            f"{where} has boxes of {', '.join(list(matched.strange)[:3])}, but the set's classes are "
            f"{', '.join(images.classes[:3])}; name the folders of the classes as the boxes do."
        )
    if num_of_none := matched.num_left_out["box-of-none"]:
        some = next(fault.id for fault in matched.faults if fault.kind == "box-of-none")
        return (
            f"{where} has boxes of {num_of_none} images such as {some}, none of which is in the set, whose images are "
            f"named as {images.val.ids[0]}; give the boxes of these images."
        )
    return f"{where} has no boxes; give data.boxes=PATH, a folder or tar of XML files, or a CSV."


def _notes(matched: _Matched, images: ImageSet, boxes: dict[str, Boxes], counted_from: int) -> list[str]:
    notes = []
    for name, split in images.splits.items():
        has_N = boxes[name].has(split.labels_N)
        notes.append(f"boxes of their class: {has_N.sum():,} of {len(has_N):,} {name} images")
    if counted_from == 1:
        notes.append("no box begins at pixel 0, so they are taken to count from 1, as VOC's do")
    words = {
        "box-file": "annotations that cannot be read",
        "box-of-none": "annotations of no image of the set",
        "box-class": f"boxes of classes that are not in the set, such as {next(iter(matched.strange), '')}",
        "box-empty": "boxes of swapped corners or without area",
    }
    notes += [f"left out: {num:,} {words[kind]}" for kind, num in sorted(matched.num_left_out.items())]
    return notes
