"""PASCAL VOC's images and their labels for classification, from the lists in ImageSets/Main.

A line of `<class>_<part>.txt` is an image's id and 1 where the class is in it, -1 where it is not, and 0 where all its
objects of the class are "difficult". XML annotations are not read.

Axes: N images, K classes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import is_visible
from vgg_sweep.images.sets.folders import root_of

VOC_PARTS = {"voc2007": ("trainval", "test"), "voc2012": ("train", "val")}
"""Of each set, what probes are trained and tested on; the labels of VOC-2012's test images are not public."""
VOC_CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
               "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
DEEPEST = 3
"""Levels below data.root where a VOC20xx folder is looked for: DIR/VOCtest/VOCdevkit/VOC2007."""
LISTS = Path("ImageSets") / "Main"


@dataclass(frozen=True)
class VocPart:
    """The images of one part, such as trainval."""

    folder: Path
    ids: list[str]
    labels_NK: NDArray[np.int8]
    """1, -1 or 0."""

    def file(self, index: int) -> Path:
        return self.folder / "JPEGImages" / f"{self.ids[index]}.jpg"


def read_voc(data: Data) -> tuple[list[str], list[VocPart]]:
    """The classes, sorted, and the two parts, whose folders may be different ones below `data.root`.

    Raises `ConfigError` for a folder, list or image that is missing, and for lists that contradict one another.
    """
    names = VOC_PARTS[data.source]
    folders = [part_folder(data, name) for name in names]
    classes = [_classes(folder, name) for folder, name in zip(folders, names, strict=True)]
    if classes[0] != classes[1]:
        only = sorted(set(classes[0]) ^ set(classes[1]))
        raise ConfigError(
            f"{folders[0]} has lists of {len(classes[0])} classes for {names[0]} and {folders[1]} of {len(classes[1])} "
            f"for {names[1]}; they differ in {', '.join(only[:3])}: unpack both archives whole."
        )
    parts = [_read_part(folder, name, classes[0]) for folder, name in zip(folders, names, strict=True)]
    if both := sorted(set(parts[0].ids) & set(parts[1].ids)):
        raise ConfigError(
            f"{len(both)} images are in the lists of {names[0]} and of {names[1]}, such as {both[0]}; a probe must be "
            "tested on other images than it was trained on."
        )
    return classes[0], parts


def part_folder(data: Data, part: str) -> Path:
    """The VOC20xx folder with the lists of `part`. Raises `ConfigError` if there is none."""
    year = data.source[-4:]
    root = root_of(data, f"the folder with VOCdevkit/VOC{year}/")
    folders = [each for each in _candidates(root, DEEPEST) if re.fullmatch(r"VOC\d{4}", each.name) is None
               or each.name == f"VOC{year}"]  # fmt: skip
    for folder in folders:
        if any((folder / LISTS).glob(f"*_{part}.txt")):
            return folder
    if tars := sorted(path.name for path in root.glob("VOC*.tar")):
        raise ConfigError(f"{root} holds {', '.join(tars)} packed; unpack it there (tar xf) first.")
    if folders:
        with_xml = next((each for each in folders if (each / "Annotations").is_dir()), None)
        raise ConfigError(
            f"{folders[0]} has no lists such as {LISTS}/aeroplane_{part}.txt; "
            + ("its XML annotations do not take their place: " if with_xml else "")
            + f"unpack VOC{year}'s archive of {part} whole, there or beside it."
        )
    raise ConfigError(
        f"{root} has no VOC{year}/{LISTS}; data.root is the folder that VOC's archives were unpacked into."
    )


def _candidates(folder: Path, depth: int) -> Iterator[Path]:
    """Folders like VOC2007, from `folder` downwards."""
    if (folder / "ImageSets").is_dir() or (folder / "JPEGImages").is_dir():
        yield folder
    elif depth:
        for inner in sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path.name)):
            yield from _candidates(inner, depth - 1)


def _classes(folder: Path, part: str) -> list[str]:
    """The classes that have a list. VOC's own twenty must all be there if one of them is."""
    found = sorted(file.name.removesuffix(f"_{part}.txt") for file in (folder / LISTS).glob(f"*_{part}.txt"))
    lacking = [name for name in VOC_CLASSES if name not in found]
    if lacking and len(lacking) < len(VOC_CLASSES):
        raise ConfigError(
            f"{folder / LISTS} has no {lacking[0]}_{part}.txt, but {found[0]}_{part}.txt; unpack VOC's archive whole."
        )
    return found


def _read_part(folder: Path, part: str, classes: list[str]) -> VocPart:
    ids: list[str] = []
    columns: list[NDArray[np.int8]] = []
    for name in classes:
        file = folder / LISTS / f"{name}_{part}.txt"
        own_ids, labels = read_list(file)
        if columns and own_ids != ids:
            raise ConfigError(f"{file} lists other images than {classes[0]}_{part}.txt; unpack VOC's archive whole.")
        ids = own_ids
        columns.append(labels)
    there = {path.name for path in (folder / "JPEGImages").glob("*.jpg")}
    if missing := [id for id in ids if f"{id}.jpg" not in there]:
        raise ConfigError(
            f"{len(missing)} of the {len(ids):,} images that {folder / LISTS} lists for {part} are not in "
            f"{folder / 'JPEGImages'}, such as {missing[0]}.jpg; unpack the archive with the images there."
        )
    return VocPart(folder, ids, np.stack(columns, axis=1))


def read_list(file: Path) -> tuple[list[str], NDArray[np.int8]]:
    """The ids and labels of a list such as aeroplane_test.txt. Raises `ConfigError` naming a line that is none."""
    ids, labels = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        match line.split():
            case [id, ("1" | "-1" | "0") as label]:
                ids.append(id)
                labels.append(int(label))
            case []:
                continue
            case _:
                raise ConfigError(f"{file}, line {number}: '{line}' is not an image's id and 1, -1 or 0.")
    if not ids:
        raise ConfigError(f"{file} is empty; unpack VOC's archive again.")
    return ids, np.array(labels, np.int8)
