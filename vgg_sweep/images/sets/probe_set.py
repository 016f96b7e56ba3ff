"""The images of a set that features are computed of: those for training and those for testing, with their labels.

Axes: N images, K classes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.schema import Config, Data
from vgg_sweep.config.transfer import BOX, IMAGE
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.decode import Stored
from vgg_sweep.images.files import is_image_name, is_visible
from vgg_sweep.images.sets.folders import class_folders, root_of
from vgg_sweep.images.sets.index import ProgressCallback, silent
from vgg_sweep.images.sets.published import CALTECH
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.sets.voc import VOC_PARTS, read_voc

DRAWN = (*CALTECH, "fractals")
"""Sets that are split at random."""


@dataclass(frozen=True)
class ProbeSet:
    """Images that features are computed of, in a fixed order."""

    images: Split
    labels: NDArray[np.integer]
    """Class indices [N], or, where an image has several classes, [N, K] of 1, -1 and 0 (neither)."""
    is_test_N: NDArray[np.bool_] | None
    """The set's own test images; None where splits are drawn."""
    classes: list[str]
    fingerprint: str
    metric: str
    """`recall`, of the mean class; `AP11`, the mean over classes of VOC-2007's average precision; `AP`, of VOC-2010's.
    """
    notes: tuple[str, ...] = ()
    boxes_N4: NDArray[np.integer] | None = None
    """Where labels are about a person in the image: left, top, right and bottom edge of the person's box."""

    @property
    def regions(self) -> tuple[str, ...]:
        """What is described of an image."""
        return (IMAGE,) if self.boxes_N4 is None else (IMAGE, BOX)


def open_probe_set(config: Config, progress: ProgressCallback = silent) -> ProbeSet:
    """The set that `config.data` names, all of its images.

    Raises `ConfigError` if it is not there or not of the expected layout.
    """
    data, split = config.data, config.transfer.split
    if split == "drawn" and data.source in VOC_PARTS:
        raise ConfigError(f"transfer.split=drawn is not for data={data.name}, which has a split of its own.")
    if split == "own" and data.source in CALTECH:
        raise ConfigError(f"transfer.split=own is not for data={data.name}, which has no split of its own.")
    if data.source in VOC_PARTS:
        probed = _voc(data)
    elif data.source in CALTECH:
        probed = _caltech(data)
    else:
        probed = _both_splits(config, progress)
    is_drawn = split == "drawn" or (split == "auto" and data.source in DRAWN)
    images = replace(probed.images, settings=replace(data, cache="none"))  # each image is read once
    return replace(probed, images=images, is_test_N=None if is_drawn else probed.is_test_N)


def _both_splits(config: Config, progress: ProgressCallback) -> ProbeSet:
    images = open_images(config, progress)
    num_train = len(images.train)

    def stored(index: int) -> Stored:
        return images.train.stored(index) if index < num_train else images.val.stored(index - num_train)

    labels_N = np.concatenate([images.train.labels_N, images.val.labels_N])
    split = Split([*images.train.ids, *images.val.ids], labels_N, stored)
    is_test_N = np.arange(len(labels_N)) >= num_train
    return ProbeSet(split, labels_N, is_test_N, images.classes, images.fingerprint, "recall", images.notes)


def _voc(data: Data) -> ProbeSet:
    voc = read_voc(data)
    split = Split(voc.ids, np.zeros(len(voc.ids), int), voc.files.__getitem__)
    metric = "AP11" if data.source == "voc2007" else "AP"
    arrays = [voc.labels_NK] if voc.boxes_N4 is None else [voc.labels_NK, voc.boxes_N4]
    fingerprint = _fingerprint(voc.classes, voc.ids, voc.files, *arrays)
    return ProbeSet(split, voc.labels_NK, voc.is_test_N, voc.classes, fingerprint, metric, boxes_N4=voc.boxes_N4)


def _caltech(data: Data) -> ProbeSet:
    """Every image file of a class folder itself: not the stray `tmp` and `RENAME2`, nor what lies in folders in it."""
    tree = _caltech_tree(data)
    classes, ids, files, labels, left_out = sorted(class_folders(tree)), [], [], [], []
    for label, name in enumerate(classes):
        for path in sorted((tree / name).iterdir()):
            if path.is_file() and is_image_name(path.name):
                ids.append(f"{name}/{path.name}")
                files.append(path)
                labels.append(label)
            elif is_visible(path.name):
                left_out.append(f"{name}/{path.name}")
    notes = tuple(f"{name} is no image of the set and left out" for name in left_out[:3])
    labels_N = np.array(labels)
    images, fingerprint = Split(ids, labels_N, files.__getitem__), _fingerprint(classes, ids, files, labels_N)
    return ProbeSet(images, labels_N, None, classes, fingerprint, "recall", notes)


def _caltech_tree(data: Data) -> Path:
    name = CALTECH[data.source]
    root = root_of(data, f"the folder with {name}/")
    for tree in (root / name, root / data.source / name, root):
        if tree.name == name and tree.is_dir():
            return tree
    if packed := sorted(path.name for path in root.glob(f"{name}*.tar*")):
        raise ConfigError(f"{root} holds {packed[0]} packed; unpack it there (tar xf) first.")
    raise ConfigError(f"{root} has no {name}/; data.root is the folder that the set's archive was unpacked into.")


def _fingerprint(classes: list[str], ids: Sequence[str], files: list[Path], *arrays: NDArray[np.integer]) -> str:
    """Of the classes, ids, sizes of the files, and labels and boxes."""
    digest = hashlib.sha256("\n".join(classes).encode("utf-8", "surrogateescape"))
    for id, file in zip(ids, files, strict=True):
        digest.update(f"\n{id} {file.stat().st_size}".encode("utf-8", "surrogateescape"))
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.int32).tobytes())
    return digest.hexdigest()
