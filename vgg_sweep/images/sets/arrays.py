"""Sets that come as arrays of pixels: CIFAR-10, CIFAR-100 and STL-10.

Each is put once into `.npy` files that are mapped into memory, so that all processes of a sweep share its pages.

Axes: N images, H W pixels, C = 3 colours.
"""

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.folders import root_of
from vgg_sweep.images.sets.index import held_out, stamp_of
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.runs.files import atomic_path, read_json, write_json
from vgg_sweep.runs.folder import waiting_lock

ARRAY_SOURCES = ("cifar10", "cifar100", "stl10")
MARKS = ("test_batch", "test_batch.bin", "test", "test.bin", "test_X.bin")
"""A file of each set, by which a folder is known to hold it."""
CIFAR10_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
STL10_SIDE_PX = 96
CLASS_NAMES = {
    "cifar10": ("batches.meta.txt", "batches.meta", "label_names"),
    "cifar100": ("fine_label_names.txt", "meta", "fine_label_names"),
    "stl10": ("class_names.txt", "", ""),
}
"""Where a set's classes are: a file of text, or else a pickle and the key in it."""


Pixels = tuple[np.ndarray, np.ndarray]
"""uint8 images_NHWC, labels_N."""


@dataclass
class Package:
    """A published set's files: in a folder, or in the archive that it was published as."""

    path: Path
    digest: Any = field(default_factory=hashlib.sha256)

    @cached_property
    def names(self) -> list[str]:
        """Of the files. Raises `ConfigError` if an archive is not whole."""
        if self.path.is_dir():
            return sorted(path.name for path in self.path.iterdir())
        try:
            with tarfile.open(self.path) as tar:
                return sorted(Path(name).name for name in tar.getnames())
        except (OSError, EOFError, tarfile.TarError) as error:
            raise ConfigError(
                f"{self.path} is not a whole archive ({error}); remove it and copy the set again."
            ) from error

    def read(self, name: str) -> bytes:
        """The content of the file `name`. Raises `ConfigError` if it is not there or not whole."""
        try:
            if self.path.is_dir():
                content = (self.path / name).read_bytes()
            else:
                with tarfile.open(self.path) as tar:
                    member = next(member for member in tar if member.isfile() and Path(member.name).name == name)
                    file = tar.extractfile(member)
                    assert file is not None, "a file of the archive"
                    content = file.read()
        except (OSError, EOFError, StopIteration, tarfile.TarError) as error:
            raise ConfigError(
                f"{self.path} has no whole {name} ({type(error).__name__}); copy the set again, or remove it and "
                "give data.download=true."
            ) from error
        self.digest.update(content)
        return content


def find_package(data: Data) -> Package:
    """Where the files of `data` are. Raises `ConfigError` if they are not there."""
    folders = {
        "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin", "cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
        "cifar100": ("cifar-100-python", "cifar-100-binary", "cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
        "stl10": ("stl10_binary", "stl10_binary.tar.gz"),
    }[data.source]
    root = root_of(data, f"the folder with {folders[0]}/")
    for path in (*(root / name for name in folders), root):
        if path.is_file() or (path.is_dir() and any((path / mark).exists() for mark in MARKS)):
            return Package(path)
    if half := [name for name in folders if (root / name).is_dir()]:
        raise ConfigError(f"{root / half[0]} lacks files of {data.source}; unpack the published archive there again.")
    raise ConfigError(
        f"{root} has none of {', '.join(folders)}; put the set there, or give data.download=true to download it."
    )


def class_names(data: Data) -> list[str]:
    """The classes of `data`, without unpacking its images. Raises `ConfigError` if its files are not there or whole."""
    return _classes(find_package(data), data.source)


def open_arrays(data: Data, cache: Path, *, again: bool = False) -> ImageSet:
    """The set, from its `.npy` files in `cache`, which are made if there are none or the published files changed."""
    package = find_package(data)
    folder = cache / f"{data.source}-{hashlib.sha256(os.fsencode(package.path)).hexdigest()[:12]}"
    with waiting_lock(folder / "lock"):
        facts = read_json(folder / "facts.json")
        if again or facts.get("stamped") != _stamps(package):
            facts = {"stamped": _stamps(package)}
            classes, train, val = _READERS[data.source](package)
            write_arrays(folder, "train", *train)
            write_arrays(folder, "val", *val)
            facts |= {"classes": classes, "fingerprint": package.digest.hexdigest()}
            write_json(folder / "facts.json", facts)
    return _image_set(folder, facts, data)


def write_arrays(folder: Path, split: str, images_NHWC: np.ndarray, labels_N: np.ndarray) -> None:
    """Put a split into `.npy` files, the labels last."""
    for name, array in (("images", images_NHWC), ("labels", labels_N)):
        with atomic_path(folder / f"{split}-{name}.npy") as temporary, open(temporary, "wb") as out:
            np.save(out, array)


def read_arrays(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images_NHWC of a split, mapped into memory, and its labels_N."""
    return np.load(folder / f"{split}-images.npy", mmap_mode="r"), np.load(folder / f"{split}-labels.npy")


def array_split(name: str, images_NHWC: np.ndarray, labels_N: np.ndarray, rows_N: np.ndarray | None = None) -> Split:
    """The images of an array, or its rows `rows_N` only; their ids are `train/0`, `train/1` ..."""
    rows_N = np.arange(len(labels_N)) if rows_N is None else rows_N
    return Split([f"{name}/{row}" for row in rows_N], labels_N[rows_N], lambda index: images_NHWC[rows_N[index]])


def _image_set(folder: Path, facts: dict[str, Any], data: Data) -> ImageSet:
    classes, fingerprint = facts["classes"], facts["fingerprint"]
    images_NHWC, labels_N = read_arrays(folder, "train")
    if data.val_share is None:
        val = array_split("val", *read_arrays(folder, "val"))
        return ImageSet(array_split("train", images_NHWC, labels_N), val, classes, fingerprint)
    is_val_N = held_out(labels_N, data.val_share, data.split_seed, classes)
    train, val = (array_split("train", images_NHWC, labels_N, np.flatnonzero(mask)) for mask in (~is_val_N, is_val_N))
    drawn = f"{fingerprint} {data.val_share} {data.split_seed}"
    return ImageSet(train, val, classes, hashlib.sha256(drawn.encode()).hexdigest())


def _classes(package: Package, source: str) -> list[str]:
    text, pickled, key = CLASS_NAMES[source]
    if text in package.names:
        return package.read(text).decode().split()
    return list(_unpickled(package, pickled)[key])


def _cifar10(package: Package) -> tuple[list[str], Pixels, Pixels]:
    if "test_batch.bin" in package.names:
        classes = _classes(package, "cifar10")
        return classes, _of_rows(package, CIFAR10_BATCHES, 1), _of_rows(package, ["test_batch"], 1)
    train = _of_pickles(package, CIFAR10_BATCHES, "labels")
    return _classes(package, "cifar10"), train, _of_pickles(package, ["test_batch"], "labels")


def _cifar100(package: Package) -> tuple[list[str], Pixels, Pixels]:
    if "test.bin" in package.names:
        return _classes(package, "cifar100"), _of_rows(package, ["train"], 2), _of_rows(package, ["test"], 2)
    train, test = (_of_pickles(package, [name], "fine_labels") for name in ("train", "test"))
    return _classes(package, "cifar100"), train, test


def _stl10(package: Package) -> tuple[list[str], Pixels, Pixels]:
    splits = []
    for name in ("train", "test"):
        flat = np.frombuffer(package.read(f"{name}_X.bin"), np.uint8)
        images_NCWH = flat.reshape(-1, 3, STL10_SIDE_PX, STL10_SIDE_PX)  # columns first
        labels_N = np.frombuffer(package.read(f"{name}_y.bin"), np.uint8).astype(np.int64) - 1
        splits.append((images_NCWH.transpose(0, 3, 2, 1), labels_N))
    return _classes(package, "stl10"), splits[0], splits[1]


_READERS = {"cifar10": _cifar10, "cifar100": _cifar100, "stl10": _stl10}
"""Each gives the classes, train and val."""


def _of_pickles(package: Package, names: Sequence[str], labels: str) -> Pixels:
    batches = [_unpickled(package, name) for name in names]
    labels_N = np.concatenate([np.asarray(batch[labels], np.int64) for batch in batches])
    return _planes(np.concatenate([batch["data"] for batch in batches])), labels_N


def _of_rows(package: Package, names: Sequence[str], num_labels: int) -> Pixels:
    """CIFAR's binary rows: one or two labels, the last of which is the class, then three planes of 32 x 32."""
    content = b"".join(package.read(f"{name}.bin") for name in names)
    rows = np.frombuffer(content, np.uint8).reshape(-1, num_labels + 3 * 32 * 32)
    return _planes(rows[:, num_labels:]), rows[:, num_labels - 1].astype(np.int64)


def _planes(data: Any) -> np.ndarray:
    planes_NCHW = np.asarray(data, np.uint8).reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes_NCHW.transpose(0, 2, 3, 1))


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, lists and words, and refuses whatever would run code."""

    def find_class(self, module: str, name: str) -> Any:
        match module.replace("numpy.core", "numpy._core"), name:
            case "numpy._core.multiarray", "_reconstruct":
                return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
            case "numpy._core.numeric", "_frombuffer":
                return np._core.numeric._frombuffer  # type: ignore[attr-defined]
            case ("numpy", "ndarray" | "dtype") | ("_codecs", "encode"):
                return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def _unpickled(package: Package, name: str) -> dict[str, Any]:
    content = io.BytesIO(package.read(name))
    try:
        return dict(_ArraysOnly(content, encoding="latin1").load())
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError) as error:
        raise ConfigError(f"{package.path}/{name} is not the published file ({error}); copy the set again.") from error


def _stamps(package: Package) -> list[list[int]]:
    files = [package.path] if package.path.is_file() else sorted(package.path.iterdir())
    return [stamp_of(file) for file in files]
