"""The boxes of a set: found, matched with its images, and kept in the cache.

A box is in pixels of its image as the set's settings read it (`data.exif_rotation`), counted from 0. ILSVRC's files and
CSVs count so; VOC's count from 1, which is told by whether any box of the set begins at 0.

A box of swapped corners or without area, of no image or of a class that the set has not is left out and said;
`vgg-sweep data check` names each.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import files
from vgg_sweep.images.sets import fractals
from vgg_sweep.images.sets.annotations import TARS
from vgg_sweep.images.sets.imagenet import BASES
from vgg_sweep.images.sets.index import LOOKED_AT, ProgressCallback, silent, stamp_of
from vgg_sweep.images.sets.labels import image_number
from vgg_sweep.images.sets.matching import Problem, SetBoxes, matched_boxes
from vgg_sweep.images.sets.splits import ImageSet, Split, spaced
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.folder import waiting_lock

USUAL = ("Annotations/CLS-LOC", "Annotations", "annotations", "boxes.csv", "boxes.tar")
"""Where boxes may lie in `data.root`."""
USUAL_ILSVRC = "ILSVRC201*_bbox_*"
"""The published archives of ILSVRC's boxes, or the folders that they were extracted to."""
BLACKLISTS = ("*clsloc_validation_blacklist*.txt", "blacklist.txt")


def open_boxes(config: Config, images: ImageSet, progress: ProgressCallback = silent) -> SetBoxes:
    """The boxes of `images`, from where `find_boxes` finds them. Raises `ConfigError` if there are none."""
    if config.data.source == "fractals":
        return _fractal_boxes(config, progress)
    paths = check_boxes(config.data)
    stamps = [(str(path), stamp_of(path), *_inner_stamps(path)) for path in paths]
    blacklist = _find_blacklist(config.data, paths)
    key = hashlib.sha256(json.dumps([1, images.fingerprint, stamps]).encode()).hexdigest()
    made = _kept(config, f"boxes-{key[:12]}", lambda: matched_boxes(config.data, images, paths, progress))
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
