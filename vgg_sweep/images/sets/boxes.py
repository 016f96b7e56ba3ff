"""The boxes of a set: found, matched with its images, and kept in the cache.

A box is in pixels of its image as the set's settings read it (`data.exif_rotation`), counted from 0. ILSVRC's files and
CSVs count so; VOC's count from 1, which is told by whether any box of the set begins at 0.

A box of swapped corners or without area, of no image or of a class that the set has not is left out and said;
`vgg-sweep data check` names each.

Axes: N images, B boxes.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import files
from vgg_sweep.images.sets import fractals
from vgg_sweep.images.sets.annotations import TARS, Annotation, annotations_in
from vgg_sweep.images.sets.imagenet import BASES
from vgg_sweep.images.sets.index import LOOKED_AT, ProgressCallback, silent, stamp_of
from vgg_sweep.images.sets.labels import image_number
from vgg_sweep.images.sets.splits import ImageSet, Split, spaced
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.folder import waiting_lock

USUAL = ("Annotations/CLS-LOC", "Annotations", "annotations", "boxes.csv", "boxes.tar")
"""Where boxes may lie in `data.root`."""
USUAL_ILSVRC = "ILSVRC201*_bbox_*"
"""The published archives of ILSVRC's boxes, or the folders that they were extracted to."""
BLACKLISTS = ("*clsloc_validation_blacklist*.txt", "blacklist.txt")


@dataclass(frozen=True)
class Problem:
    """One problem of an image, of its boxes, or of a class."""

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


def open_boxes(config: Config, images: ImageSet, progress: ProgressCallback = silent) -> SetBoxes:
    """The boxes of `images`, from where `find_boxes` finds them. Raises `ConfigError` if there are none."""
    if config.data.source == "fractals":
        return _fractal_boxes(config, progress)
    paths = check_boxes(config.data)
    stamps = [(str(path), stamp_of(path), *_inner_stamps(path)) for path in paths]
    blacklist = _find_blacklist(config.data, paths)
    key = hashlib.sha256(json.dumps([1, images.fingerprint, stamps]).encode()).hexdigest()
    made = _kept(config, f"boxes-{key[:12]}", lambda: _matched(config.data, images, paths, progress))
    return _with_blacklist(made, images.val, blacklist)


def check_boxes(data: Data) -> list[Path]:
    """Where the set's boxes are, which are not read; nowhere for fractals. Raises `ConfigError` if there are none."""
    if not (paths := find_boxes(data)) and data.source != "fractals":
        raise ConfigError(
            f"{data.name} has no boxes; give data.boxes=PATH, a folder or tar of XML files as ILSVRC and VOC "
            "have them, or a CSV with one box per line: file,x0,y0,x1,y1."
        )
    return paths


def find_boxes(data: Data) -> list[Path]:
    """Where the set's boxes are: `data.boxes`, or the usual places in `data.root`; empty if there are none.

    Raises `ConfigError` if `data.boxes` is not there.
    """
    if data.boxes is not None:
        path = Path(data.boxes).expanduser()
        if not path.exists():
            raise ConfigError(f"data.boxes={data.boxes} does not exist; give a folder or tar of XML files, or a CSV.")
        return [path.resolve()]
    if data.root is None:
        return []
    root = Path(data.root).expanduser().resolve()
    bases = BASES if data.source == "imagenet" else (".",)
    for base in bases:
        for name in USUAL:
            if (path := root / base / name).exists():
                return [path]
        if data.source == "imagenet" and (published := sorted((root / base).glob(USUAL_ILSVRC))):
            return [path for path in published if path.is_dir() or path.name.endswith(TARS)]
    return []


def _inner_stamps(path: Path) -> list[object]:
    """Of the folders in a folder, which change when a file comes or goes, and of `LOOKED_AT` of their files."""
    if not path.is_dir():
        return []
    folders: list[Path] = []
    found = [entry.path for _, _, entry in files(path, folders.append)]
    looked_at = {found[row] for row in spaced(len(found), LOOKED_AT)}
    return [[str(inner), stamp_of(Path(inner))] for inner in sorted([*map(str, folders), *looked_at])]


def _kept(config: Config, name: str, make: Callable[[], SetBoxes]) -> SetBoxes:
    """What `make` makes, from the cache if it was made before."""
    file = Path(config.cache) / f"{name}.npz"
    with waiting_lock(file.with_suffix(".lock")):
        if not file.exists():
            made = make()
            facts = {"fingerprint": made.fingerprint, "notes": made.notes, "faults": list(map(vars, made.faults))}
            parts = ((split, vars(boxes)) for split, boxes in made.splits.items())
            arrays = {f"{split}_{name}": array for split, part in parts for name, array in part.items()}
            with atomic_path(file) as temporary, open(temporary, "wb") as out:
                np.savez(out, facts=np.array(json.dumps(facts)), **arrays)
        with np.load(file) as stored:
            facts = json.loads(str(stored["facts"]))
            train, val = (
                Boxes(*(stored[f"{split}_{part}"] for part in Boxes.__dataclass_fields__)) for split in ("train", "val")
            )
    faults = tuple(Problem(**fault) for fault in facts["faults"])
    return SetBoxes(train, val, np.zeros(len(val), bool), facts["fingerprint"], tuple(facts["notes"]), faults)


# --- matching ---


def _matched(data: Data, images: ImageSet, paths: Sequence[Path], progress: ProgressCallback) -> SetBoxes:
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


# --- fractals ---


def _fractal_boxes(config: Config, progress: ProgressCallback) -> SetBoxes:
    """The extents of the figures as they are placed."""
    spec = config.data.fractals
    total = spec.num_classes * (spec.train_per_class + spec.val_per_class)

    def of_figures(boxes_N4: np.ndarray) -> Boxes:
        per_class = len(boxes_N4) // spec.num_classes
        lists = [[(row // per_class, box_4)] for row, box_4 in enumerate(boxes_N4)]
        return Boxes.of_lists(lists, [(spec.side_px, spec.side_px)] * len(lists))

    def make() -> SetBoxes:
        train_N4 = fractals.figure_boxes(spec, "train", lambda done: progress(done, total))
        val_N4 = fractals.figure_boxes(spec, "val", lambda done: progress(len(train_N4) + done, total))
        return SetBoxes.of(of_figures(train_N4), of_figures(val_N4))

    key = hashlib.sha256(json.dumps([1, vars(spec)]).encode()).hexdigest()
    return _kept(config, f"boxes-fractals-{key[:12]}", make)


# --- the blacklist ---


def _find_blacklist(data: Data, paths: Sequence[Path]) -> Path | None:
    """ILSVRC's list of validation images that are left out of localisation, beside the boxes or in `data.root`."""
    if data.source != "imagenet":
        return None
    folders = [*(path if path.is_dir() else path.parent for path in paths)]
    folders += [path.parent for path in paths] + ([Path(data.root).expanduser()] if data.root else [])
    found = (
        file
        for folder in folders
        for pattern in BLACKLISTS
        for inside in ("", "data/", "*/data/")
        for file in sorted(folder.glob(inside + pattern))
    )
    return next(found, None)


def _with_blacklist(made: SetBoxes, val: Split, blacklist: Path | None) -> SetBoxes:
    if blacklist is None:
        return made
    try:
        numbers = {int(line) for line in blacklist.read_text(encoding="utf-8").split()}
    except ValueError as error:
        raise ConfigError(
            f"{blacklist} is not a list of numbers ({error}); copy it from the development kit."
        ) from error
    blacklisted_N = np.array([image_number(id) in numbers for id in val.ids], bool)
    note = f"{blacklisted_N.sum():,} val images are left out of localisation by {blacklist.name}"
    return replace(made, blacklisted_N=blacklisted_N, notes=(*made.notes, note))
