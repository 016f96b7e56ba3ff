"""Image sets: a training and a validation split with their classes, from class folders or made by formula."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vgg_sweep.config import Config, ConfigError, Data, Fractals
from vgg_sweep.images import fractals
from vgg_sweep.images.splits import ImageSet, Split
from vgg_sweep.store import atomic_path, waiting_lock

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")


def open_images(config: Config, progress: Callable[[int, int], None] | None = None) -> ImageSet:
    """The image set that `config.data` names. Raises `ConfigError` if it is not there or not of the expected layout."""
    if config.data.source == "fractals":
        images = _open_fractals(config.data.fractals, Path(config.cache), progress)
    else:
        images = _open_folders(config.data)
    if config.classes not in (None, len(images.classes)):
        raise ConfigError(
            f"classes={config.classes}, but {config.data.name} has {len(images.classes)}; leave `classes` out to take "
            "the data's."
        )
    return images


def _open_fractals(spec: Fractals, cache: Path, progress: Callable[[int, int], None] | None) -> ImageSet:
    fingerprint = hashlib.sha256(json.dumps(["fractals", 1, asdict(spec)]).encode()).hexdigest()
    folder = cache / f"fractals-{fingerprint[:12]}"
    splits = {}
    with waiting_lock(folder / "lock"):
        for name in ("train", "val"):
            images_file, labels_file = (
                folder / f"{name}-images.npy",
                folder / f"{name}-labels.npy",
            )
            if not labels_file.exists():
                images_NHWC, labels_N = fractals.render_split(spec, name, progress)
                for file, array in (
                    (images_file, images_NHWC),
                    (labels_file, labels_N),
                ):
                    with atomic_path(file) as temporary, open(temporary, "wb") as out:
                        np.save(out, array)
            splits[name] = _array_split(name, np.load(images_file, mmap_mode="r"), np.load(labels_file))
    return ImageSet(splits["train"], splits["val"], fractals.class_names(spec), fingerprint)


def _array_split(name: str, images_NHWC: np.ndarray, labels_N: np.ndarray) -> Split:
    ids = [f"{name}/{index}" for index in range(len(labels_N))]
    return Split(ids, labels_N, images_NHWC.__getitem__)


def check_folders(data: Data) -> list[str]:
    """The classes of a set of class folders, sorted.

    Raises `ConfigError` if it is not there or not of the expected layout.
    """
    if data.root is None:
        raise ConfigError(
            f"data={data.name} needs data.root=DIR, a folder with train/ and val/ and in each a folder a class."
        )
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise ConfigError(
            f"data.root={data.root} is not a folder; give one with train/ and val/ and in each a folder a class."
        )
    train, val = (_class_folders(root, split) for split in ("train", "val"))
    if train != val:
        raise ConfigError(
            f"{root}: train/ and val/ must have the same class folders, but {_named(train - val)} only in train/ and "
            f"{_named(val - train)} only in val/."
        )
    classes = sorted(train)
    if data.source == "imagenet" and (wrong := [name for name in classes if not re.fullmatch(r"n\d{8}", name)]):
        raise ConfigError(
            f"{root}: ILSVRC's class folders are wnids such as n01440764, but there is {wrong[0]}; use data=folder "
            "for other sets."
        )
    return classes


def _class_folders(root: Path, split: str) -> set[str]:
    folder = root / split
    if not folder.is_dir():
        raise ConfigError(f"{root} has no {split}/; data.root must hold train/ and val/ and in each a folder a class.")
    classes = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if not classes:
        raise ConfigError(f"{folder} has no class folders; put the images of each class in a folder named after it.")
    for name in sorted(classes):
        if not any(_images(folder / name)):
            raise ConfigError(f"{folder / name} has no images ({', '.join(EXTENSIONS)}); fill the folder or remove it.")
    return classes


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)


def _open_folders(data: Data) -> ImageSet:
    classes = check_folders(data)
    root = Path(str(data.root)).expanduser()
    files = {split: {name: sorted(_images(root / split / name)) for name in classes} for split in ("train", "val")}
    sizes = [
        f"{path.relative_to(root)} {path.stat().st_size}"
        for by_class in files.values()
        for paths in by_class.values()
        for path in paths
    ]
    fingerprint = hashlib.sha256("\n".join([*classes, *sizes]).encode()).hexdigest()
    splits = {split: _folder_split(root, by_class, classes) for split, by_class in files.items()}
    return ImageSet(splits["train"], splits["val"], classes, fingerprint)


def _folder_split(root: Path, by_class: dict[str, list[Path]], classes: list[str]) -> Split:
    paths = [path for name in classes for path in by_class[name]]
    labels_N = np.repeat(np.arange(len(classes)), [len(by_class[name]) for name in classes])
    return Split([str(path.relative_to(root)) for path in paths], labels_N, paths.__getitem__)


def _named(names: set[str]) -> str:
    shown = sorted(names)[:3]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(shown) or "none") + more + (" is" if len(names) <= 1 else " are")
