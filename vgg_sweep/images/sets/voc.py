"""PASCAL VOC's images and their labels, from the lists in ImageSets/Main (classification) or ImageSets/Action.

A line of `<class>_<part>.txt` is an image's id and 1 where the class is in it, -1 where it is not, and 0 where all its
objects of the class are "difficult". In ImageSets/Action a line is about a person: after the image's id comes the
number of the object in its XML annotation, which is read for the person's box alone.

Axes: N images, or persons, K classes.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import is_visible
from vgg_sweep.images.sets.annotations import Annotation, read_xml
from vgg_sweep.images.sets.folders import root_of
from vgg_sweep.protocols.paper import ACTIONS_SET

VOC_PARTS = {"voc2007": ("trainval", "test"), "voc2012": ("train", "val"), ACTIONS_SET: ("train", "val")}
"""Of each set, what probes are trained and tested on; the labels of VOC-2012's test images are not public."""
VOC_CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
               "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
ACTIONS = ("jumping", "phoning", "playinginstrument", "reading", "ridingbike", "ridinghorse", "running", "takingphoto",
           "usingcomputer", "walking")  # fmt: skip
"""Those over which VOC's mean is taken; its lists of `other`, where there are any, are not among them."""
DEEPEST = 3
"""Levels below data.root where a VOC20xx folder is looked for: DIR/VOCtest/VOCdevkit/VOC2007."""


def lists_of(source: str) -> Path:
    return Path("ImageSets") / ("Action" if source == ACTIONS_SET else "Main")


@dataclass(frozen=True)
class Voc:
    """The images, or persons, of both parts, those that probes are trained on first."""

    classes: list[str]
    ids: list[str]
    """An image's, and after a space the number of the person in it."""
    files: list[Path]
    labels_NK: NDArray[np.int8]
    """1, -1 or 0."""
    is_test_N: NDArray[np.bool_]
    boxes_N4: NDArray[np.int64] | None
    """Each person's box: left, top, right and bottom edge."""


def person_box(folder: Path, image: str, number: str) -> tuple[int, int, int, int]:
    """The box of an object in an image's annotation; both are counted from 1 there, the box in pixels."""
    file = folder / "Annotations" / f"{image}.xml"
    said = read_xml(file.name, file.read_bytes()) if file.is_file() else Annotation(image, error="is not there")
    if not said.error and not 0 < int(number) <= len(said.drawn):
        said.error = f"has {len(said.drawn)} objects, and the lists name its object {number}"
    if not said.error:
        x0, y0, x1, y1 = map(round, said.drawn[int(number) - 1].corners)
        width, height = (side or math.inf for side in said.size_px)
        if max(x0, 1) <= min(x1, width) and max(y0, 1) <= min(y1, height):
            return x0 - 1, y0 - 1, x1, y1
        said.error = f"has a box of object {number} without a pixel of the image in it"
    raise ConfigError(f"{file} {said.error}; unpack VOC's archive whole.")


def read_voc(data: Data) -> Voc:
    """Both parts, whose folders may be different ones below `data.root`, with the classes sorted.

    Raises `ConfigError` for a folder, list, image or box that is missing, and for lists that contradict one another.
    """
    names = VOC_PARTS[data.source]
    folders = [part_folder(data, name) for name in names]
    lists, known = lists_of(data.source), ACTIONS if data.source == ACTIONS_SET else VOC_CLASSES
    classes = [_classes(folder / lists, name, known) for folder, name in zip(folders, names, strict=True)]
    if classes[0] != classes[1]:
        only = sorted(set(classes[0]) ^ set(classes[1]))
        raise ConfigError(
            f"{folders[0]} has lists of {len(classes[0])} classes for {names[0]} and {folders[1]} of {len(classes[1])} "
            f"for {names[1]}; they differ in {', '.join(only[:3])}: unpack both archives whole."
        )
    (train_ids, train_files, train_NK), (test_ids, test_files, test_NK) = (
        _read_part(folder, lists, name, classes[0]) for folder, name in zip(folders, names, strict=True)
    )
    if both := sorted({file.stem for file in train_files} & {file.stem for file in test_files}):
        raise ConfigError(
            f"{len(both)} images are in the lists of {names[0]} and of {names[1]}, such as {both[0]}; a probe must be "
            "tested on other images than it was trained on."
        )
    ids, files, boxes_N4 = train_ids + test_ids, train_files + test_files, None
    if data.source == ACTIONS_SET:
        boxes_N4 = np.array([person_box(file.parents[1], *id.split()) for id, file in zip(ids, files, strict=True)])
    is_test_N = np.arange(len(ids)) >= len(train_ids)
    return Voc(classes[0], ids, files, np.concatenate([train_NK, test_NK]), is_test_N, boxes_N4)


def part_folder(data: Data, part: str) -> Path:
    """The VOC20xx folder with the lists of `part`. Raises `ConfigError` if there is none."""
    year, lists = data.source[3:7], lists_of(data.source)
    root = root_of(data, f"the folder with VOCdevkit/VOC{year}/")
    folders = [each for each in _candidates(root, DEEPEST) if re.fullmatch(r"VOC\d{4}", each.name) is None
               or each.name == f"VOC{year}"]  # fmt: skip
    for folder in folders:
        if any((folder / lists).glob(f"*_{part}.txt")):
            return folder
    if tars := sorted(path.name for path in root.glob("VOC*.tar")):
        raise ConfigError(f"{root} holds {', '.join(tars)} packed; unpack it there (tar xf) first.")
    if folders:
        first, reason = (ACTIONS if data.source == ACTIONS_SET else VOC_CLASSES)[0], ""
        if year == "2012" and any((folders[0] / lists).glob("*test.txt")):
            reason = "the labels of test images are not public: "
        elif any((each / "Annotations").is_dir() for each in folders):
            reason = "its XML annotations do not take their place: "
        raise ConfigError(
            f"{folders[0]} has no lists such as {lists}/{first}_{part}.txt; {reason}unpack VOC{year}'s archive of "
            f"{part} whole, there or beside it."
        )
    raise ConfigError(
        f"{root} has no VOC{year}/{lists}; data.root is the folder that VOC's archives were unpacked into."
    )


def _candidates(folder: Path, depth: int) -> Iterator[Path]:
    """Folders like VOC2007, from `folder` downwards."""
    if (folder / "ImageSets").is_dir() or (folder / "JPEGImages").is_dir():
        yield folder
    elif depth:
        for inner in sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path.name)):
            yield from _candidates(inner, depth - 1)


def _classes(lists: Path, part: str, known: tuple[str, ...]) -> list[str]:
    """The classes that have a list. All of VOC's own must be there if one of them is."""
    found = sorted({file.name.removesuffix(f"_{part}.txt") for file in lists.glob(f"*_{part}.txt")} - {"other"})
    lacking = [name for name in known if name not in found]
    if lacking and len(lacking) < len(known):
        raise ConfigError(
            f"{lists} has no {lacking[0]}_{part}.txt, but {found[0]}_{part}.txt; unpack VOC's archive whole."
        )
    return found


def _read_part(
    folder: Path, lists: Path, part: str, classes: list[str]
) -> tuple[list[str], list[Path], NDArray[np.int8]]:
    """Ids, files and labels."""
    ids: list[str] = []
    columns: list[NDArray[np.int8]] = []
    for name in classes:
        file = folder / lists / f"{name}_{part}.txt"
        own_ids, labels = read_list(file, has_persons=lists.name == "Action")
        if columns and own_ids != ids:
            raise ConfigError(f"{file} lists other images than {classes[0]}_{part}.txt; unpack VOC's archive whole.")
        ids = own_ids
        columns.append(labels)
    there = {path.name for path in (folder / "JPEGImages").glob("*.jpg")}
    files = [folder / "JPEGImages" / f"{id.partition(' ')[0]}.jpg" for id in ids]
    names = dict.fromkeys(file.name for file in files)
    if missing := [name for name in names if name not in there]:
        raise ConfigError(
            f"{len(missing)} of the {len(names):,} images that {folder / lists} lists for {part} are not in "
            f"{folder / 'JPEGImages'}, such as {missing[0]}; unpack the archive with the images there."
        )
    return ids, files, np.stack(columns, axis=1)


def read_list(file: Path, *, has_persons: bool = False) -> tuple[list[str], NDArray[np.int8]]:
    """The ids and labels of a list such as aeroplane_test.txt; with `has_persons`, an id is that of an image, a space
    and the number of a person. Raises `ConfigError` naming a line that is none.
    """
    kind = r"(\S+\s+\d+)" if has_persons else r"(\S+)"
    ids, labels = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if match := re.fullmatch(rf"\s*{kind}\s+(1|-1|0)\s*", line):
            ids.append(" ".join(match[1].split()))
            labels.append(int(match[2]))
        elif line.strip():
            id = "an image's id, a person's number" if has_persons else "an image's id"
            raise ConfigError(f"{file}, line {number}: '{line}' is not {id} and 1, -1 or 0.")
    if not ids:
        raise ConfigError(f"{file} is empty; unpack VOC's archive again.")
    return ids, np.array(labels, np.int8)
