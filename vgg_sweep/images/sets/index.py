"""Where the images of a set are: a compact list on disk, made once and mapped into memory, so that 1.28 million images
cost no time at the start of a run and no memory beyond the pages that are read.

The list is a folder of `.npy` files beside an `index.json`; all processes share its pages. An image is a file of its
own or a byte range of a tar. Ids and order do not depend on which: class by class, by name within a class.

Axes: N images of a split.
"""

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from vgg_sweep.errors import ConfigError
from vgg_sweep.images.decode import ByteRange, Stored
from vgg_sweep.images.sets.splits import ImageSet, Split, spaced
from vgg_sweep.runs.files import read_json, temporary_path, write_json
from vgg_sweep.runs.folder import waiting_lock

WHOLE_FILE = -1
"""Offset of an image that is a file of its own."""
COLUMNS = ("text", "ends", "places", "offsets", "bytes", "labels")
"""The files of a split: ids in one block and where each ends, container, place in it, size and label of each image."""
LOOKED_AT = 4096
"""Files of a split whose sizes are compared at every start, evenly spaced: all of them in a small set."""

ProgressCallback = Callable[[int, int], None]
"""Called with how many are done, of how many."""


def silent(done: int, total: int) -> None:
    """Reports to nobody."""


class FoundImage(NamedTuple):
    """One image as a scan finds it."""

    id: str
    """Its name in the set, `train/daisy/1.jpg`, the same whatever it lies in."""
    container: str
    """The folder or tar that it lies in."""
    offset: int
    """Where it begins in a tar, or `WHOLE_FILE`."""
    num_bytes: int


@dataclass(frozen=True)
class Ids(Sequence[str]):
    """Many strings in one block of bytes."""

    text: np.ndarray
    """UTF-8, without separators."""
    ends_N: np.ndarray

    @staticmethod
    def of(names: Iterable[str]) -> "Ids":
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        lengths_N = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return Ids(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths_N))

    @staticmethod
    def joined(parts: Sequence["Ids"]) -> "Ids":
        starts = np.cumsum([0, *(len(part.text) for part in parts)])
        ends = [part.ends_N + start for part, start in zip(parts, starts, strict=False)]
        return Ids(np.concatenate([part.text for part in parts]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends_N)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            return [self[index] for index in range(*key.indices(len(self)))]
        index = range(len(self))[key]
        start = int(self.ends_N[index - 1]) if index else 0
        return self.text[start : int(self.ends_N[index])].tobytes().decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Entries:
    """Images of a split and where they are: the file `container / last part of the id`, or a byte range of a tar."""

    ids: Ids
    containers_N: np.ndarray
    offsets_N: np.ndarray
    bytes_N: np.ndarray

    @staticmethod
    def joined(parts: Sequence["Entries"]) -> "Entries":
        columns = ([getattr(part, name) for part in parts] for name in ("containers_N", "offsets_N", "bytes_N"))
        return Entries(Ids.joined([part.ids for part in parts]), *map(np.concatenate, columns))

    def chosen(self, is_chosen_N: np.ndarray) -> "Entries":
        """Those of a mask, in their order."""
        ids = Ids.of(self.ids[int(index)] for index in np.flatnonzero(is_chosen_N))
        return Entries(ids, *(column[is_chosen_N] for column in (self.containers_N, self.offsets_N, self.bytes_N)))

    def stored(self, containers: Sequence[str], index: int) -> Stored:
        """Where image `index` is read from, by the numbered `containers`."""
        container, offset = Path(containers[self.containers_N[index]]), int(self.offsets_N[index])
        if offset == WHOLE_FILE:
            return container / self.ids[index].rpartition("/")[2]
        return ByteRange(container, offset, int(self.bytes_N[index]))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Listing:
    """A set as a scan finds it."""

    containers: dict[str, int] = field(default_factory=dict)
    stamped: dict[str, list[int]] = field(default_factory=dict)
    """Time of change and size of each folder, tar and file of labels when it was read: the index is stale when one
    changes.
    """
    train: dict[str, Entries] = field(default_factory=dict)
    """Class to its images."""
    val: dict[str, Entries] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    """In the order of the labels."""
    layout: str = ""
    """What it was found as, for people."""
    notes: list[str] = field(default_factory=list)
    """What else people should know."""
    mislabelled: list[list[str]] = field(default_factory=list)
    """[id, class that a list of labels gives it] of images that lie in the folder of another class."""
    drawn: str = ""
    """How val was drawn from train, if it was."""

    def stamp(self, path: Path) -> None:
        """Remember `path` as it is now; call it before reading it, so that no change is missed."""
        self.stamped[str(path)] = stamp_of(path)

    @property
    def splits(self) -> dict[str, dict[str, Entries]]:
        return {"train": self.train, "val": self.val}

    def add(self, split: str, name: str, found: Iterable[FoundImage]) -> None:
        """All images of class `name` in a split, to be sorted by id. Containers that are new get the next number."""
        rows, known = sorted(found), self.containers
        numbers = [(known.setdefault(row.container, len(known)), row.offset, row.num_bytes) for row in rows]
        columns_3N = np.array(numbers, np.int64).reshape(-1, 3).T
        ids = Ids.of(row.id for row in rows)
        self.splits[split][name] = Entries(ids, columns_3N[0].astype(np.int32), columns_3N[1], columns_3N[2])

    def add_labelled(
        self, split: str, images: Iterable[FoundImage], class_of: Callable[[str], str | None], source: str
    ) -> None:
        """Images that do not lie by class, by the class that `class_of` gives each for its file's name.

        Raises `ConfigError` for one without a label in `source`.
        """
        by_class: dict[str, list[FoundImage]] = defaultdict(list)
        for image in images:
            name = Path(image.id).name
            if (label := class_of(name)) is None:
                raise ConfigError(f"{Path(image.container) / name} has no label in {source}.")
            by_class[label].append(image._replace(id=f"{split}/{label}/{name}"))
        for label, found in by_class.items():
            self.add(split, label, found)


@dataclass(frozen=True)
class Index:
    """A set's list, mapped into memory."""

    folder: Path
    facts: dict[str, Any]
    """classes, fingerprint, layout, notes, mislabelled, places, stamped."""
    images: ImageSet
    bytes_of: dict[str, np.ndarray]
    """The size of each image of a split."""

    @property
    def num_bytes(self) -> int:
        """Of the files on disk."""
        return sum(file.stat().st_size for file in self.folder.iterdir())


def indexed(folder: Path, scan: Callable[[], Listing], *, again: bool = False) -> Index:
    """The index in `folder`; made by `scan` if there is none, if what it lists has changed, or `again`.

    If several processes want it at once, one makes it. It is stale if folders or tars have changed, or one of
    the sizes of `LOOKED_AT` files.
    """
    with waiting_lock(folder.with_suffix(".lock")):
        if not again and (folder / "index.json").exists():
            index = read_index(folder)
            if not is_stale(index):
                return index
        _write(folder, scan())
        return read_index(folder)


def forget(folder: Path) -> None:
    """Remove the index in `folder`, and its lock."""
    with waiting_lock(lock := folder.with_suffix(".lock")):
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)


def read_index(folder: Path) -> Index:
    facts = read_json(folder / "index.json")
    splits, bytes_of = {}, {}
    for split in ("train", "val"):
        text, ends_N, containers_N, offsets_N, bytes_of[split], labels_N = (
            np.load(folder / f"{split}-{name}.npy", mmap_mode="r") for name in COLUMNS
        )
        entries = Entries(Ids(text, ends_N), containers_N, offsets_N, bytes_of[split])
        splits[split] = Split(entries.ids, labels_N, partial(entries.stored, facts["places"]))
    images = ImageSet(**splits, classes=facts["classes"], fingerprint=facts["fingerprint"], notes=tuple(facts["notes"]))
    return Index(folder, facts, images, bytes_of)


def is_stale(index: Index) -> bool:
    """Whether the files are seen to be others than those listed."""
    try:
        if any(stamp_of(Path(path)) != stamp for path, stamp in index.facts["stamped"].items()):
            return True
        return any(_has_changed(split, index.bytes_of[name]) for name, split in index.images.splits.items())
    except FileNotFoundError:
        return True


def held_out(labels_N: np.ndarray, share: float, seed: int, classes: Sequence[str]) -> np.ndarray:
    """Which images are held out for validation, as a mask: of each class the nearest whole number to `share`, but at
    least one and not all, drawn with `seed`. Raises `ConfigError` naming a class of one image.
    """
    is_held_out_N = np.zeros(len(labels_N), bool)
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        if len(rows) == 1:
            raise one_image_alone(share, classes[label])
        drawn = np.random.Generator(np.random.PCG64([seed, int(label)])).permutation(rows)
        is_held_out_N[drawn[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return is_held_out_N


def one_image_alone(share: float, name: str) -> ConfigError:
    """Why class `name` cannot be divided."""
    return ConfigError(
        f"data.val_share={share:g} needs two images of every class, one to train and one to validate on, and {name} "
        "has one; add images of it, or remove the class."
    )


def hold_out(listing: Listing, share: float, seed: int) -> None:
    """Make the listing's validation images of its training images."""
    for label, name in enumerate(listing.classes):
        entries = listing.train[name]
        is_val_N = held_out(np.full(len(entries), label), share, seed, listing.classes)
        listing.val[name], listing.train[name] = entries.chosen(is_val_N), entries.chosen(~is_val_N)
    listing.drawn = f"val is {share:.0%} of the training images of each class, drawn with seed {seed}"


def _write(folder: Path, listing: Listing) -> None:
    """Put the listing in the place of `folder`, all at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = temporary_path(folder)
    new.mkdir()
    try:
        digest = hashlib.sha256("\n".join(listing.classes).encode("utf-8", "surrogateescape"))
        for split, by_class in listing.splits.items():
            entries = Entries.joined([by_class[name] for name in listing.classes])
            for id, num_bytes in zip(entries.ids, entries.bytes_N.tolist(), strict=True):
                digest.update(f"\n{id} {num_bytes}".encode("utf-8", "surrogateescape"))
            labels_N = np.repeat(np.arange(len(listing.classes)), [len(by_class[name]) for name in listing.classes])
            text, ends_N = entries.ids.text, entries.ids.ends_N
            columns = (text, ends_N, entries.containers_N, entries.offsets_N, entries.bytes_N, labels_N)
            for name, column in zip(COLUMNS, columns, strict=True):
                np.save(new / f"{split}-{name}.npy", column)
        digest.update(listing.drawn.encode())
        facts = {
            "format": 1,
            "fingerprint": digest.hexdigest(),
            "classes": listing.classes,
            "layout": listing.layout,
            "notes": [*listing.notes, *([listing.drawn] if listing.drawn else [])],
            "mislabelled": listing.mislabelled,
            "places": list(listing.containers),
            "stamped": listing.stamped,
        }
        write_json(new / "index.json", facts)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def stamp_of(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_mtime_ns, 0 if path.is_dir() else status.st_size]


def _has_changed(split: Split, bytes_N: np.ndarray) -> bool:
    """Whether one of `LOOKED_AT` files has another size."""
    stored = ((split.stored(row), bytes_N[row]) for row in spaced(len(split), LOOKED_AT).tolist())
    return any(isinstance(file, Path) and file.stat().st_size != num_bytes for file, num_bytes in stored)
