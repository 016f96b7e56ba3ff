"""ILSVRC-2012 to 2014 classification, in every common layout. Classes are wnids, sorted.

Training images: class folders, class tars, both, or the tar of class tars. Validation images: class folders, one folder
or ILSVRC2012_img_val.tar, with labels from the development kit or from a list. Nothing is extracted.
"""

import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import is_image_name, is_visible
from vgg_sweep.images.sets.folders import (
    check_same_classes,
    class_folders,
    named,
    progress_of,
    root_of,
    scan_files,
    scan_tree,
)
from vgg_sweep.images.sets.index import FoundImage, Listing, ProgressCallback, silent
from vgg_sweep.images.sets.labels import find_labels, image_number, misplaced_by, read_labels
from vgg_sweep.images.sets.wnids import WNID, shown, synsets

MIB = 2**20
NUM_TRAIN, NUM_VAL = 1_281_167, 50_000
CMYK_NAMES = frozenset(
    "n01739381_1309 n02077923_14822 n02447366_23489 n02492035_15739 n02747177_10752 n03018349_4028 n03062245_4620 "
    "n03347037_9675 n03467068_12171 n03529860_11437 n03544143_17228 n03633091_5218 n03710637_5125 n03961711_5286 "
    "n04033995_2932 n04258138_17003 n04264628_27969 n04336792_7448 n04371774_5854 n04596742_4225 n07583066_647 "
    "n13037406_4650".split()
)
"""Training images that are CMYK."""
PNG_NAME = "n02105855_2933"
"""The training image that is a PNG named .JPEG."""

BASES = (".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC2012", "ILSVRC")
"""Where train and val may lie in `data.root`: as most people put them, and as Kaggle packs them."""
LAYOUT = (
    "the folder with train/ or ILSVRC2012_img_train.tar, and val/ or ILSVRC2012_img_val.tar with the development kit "
    "or a list of labels"
)


@dataclass(frozen=True)
class Layout:
    """What `data.root` holds."""

    root: Path
    train: Path | None
    """A folder of class folders and class tars, or the tar of class tars; None where val is wanted alone."""
    val: Path
    """A folder of class folders or of images, or a tar."""
    val_is_flat: bool
    labels: tuple[Path, ...]
    """Lists of labels and development kits."""

    @property
    def words(self) -> str:
        """For people."""
        val = "tar of images" if self.val.is_file() else "folder of images" if self.val_is_flat else "class folders"
        labels = f", labels from {' and '.join(path.name for path in self.labels)}" if self.labels else ""
        said = f"val: {self.val} ({val}{labels})"
        if self.train is None:
            return said
        return f"train: {self.train} ({'tar of class tars' if self.train.is_file() else 'folder of classes'}); {said}"


def find_layout(data: Data, *, val_alone: bool = False) -> Layout:
    """Which layout `data.root` has; looks at folders, not at images.

    With `val_alone`, which suffices for a net trained elsewhere, the training images need not be there.
    Raises `ConfigError` if it is none of ours.
    """
    root = root_of(data, LAYOUT)
    bases = [root / base for base in BASES if (root / base).is_dir()]
    train = _first(bases, ("train", "ILSVRC2012_img_train"), ("ILSVRC2012_img_train.tar", "train.tar"))
    val = _first(bases, ("val", "ILSVRC2012_img_val", "validation"), ("ILSVRC2012_img_val.tar", "val.tar"))
    for split, found in (("train", train), ("val", val)):
        if found is None and not (val_alone and split == "train"):
            raise ConfigError(f"{root} has no {split}/ and no ILSVRC2012_img_{split}.tar; data.root must be {LAYOUT}.")
    assert val is not None
    train = None if val_alone else train
    if train is not None and train.is_dir():
        _check_wnids(train, {path.stem for path in _class_paths(train)})
    val_is_flat = val.is_file() or not any(path.is_dir() for path in _visible(val))
    if not val_is_flat:
        _check_wnids(val, {path.name for path in _visible(val) if path.is_dir()})
    folders = [*bases, val if val.is_dir() else val.parent]
    labels = (Path(data.labels).expanduser().resolve(),) if data.labels else tuple(find_labels(folders))
    if data.labels and not labels[0].is_file():
        raise ConfigError(f"data.labels={data.labels} is not a file; give a list of labels, or leave it out.")
    if val_is_flat and not labels:
        raise ConfigError(
            f"{val} holds ILSVRC's validation images without their labels; put ILSVRC2012_devkit_t12.tar.gz beside it, "
            "or give data.labels=FILE with lines such as `ILSVRC2012_val_00000001.JPEG n01751748`."
        )
    return Layout(root, train, val, val_is_flat, labels)


def scan_imagenet(data: Data, progress: ProgressCallback, *, val_alone: bool = False) -> Listing:
    """All images of the layout that `find_layout` finds; of val those whose class is one of train's, if that counts."""
    layout = find_layout(data, val_alone=val_alone)
    listing = Listing(layout=layout.words)
    if layout.train is not None:
        _scan_train(listing, layout.train, progress)
        listing.classes = sorted(listing.train)
    for path in layout.labels:
        listing.stamp(path)
    if layout.val_is_flat:
        _scan_flat_val(listing, layout, data.labels_order, progress)
    else:
        scan_tree(listing, layout.val, "val", sorted(class_folders(layout.val)), progress)
        _check_class_folders(listing, layout, data.labels_order)
    if layout.train is None:
        listing.classes = sorted(listing.val)
        for name in listing.classes:
            listing.add("train", name, [])
    beyond = listing.val.keys() - listing.train.keys()
    num_beyond = sum(len(listing.val.pop(name)) for name in beyond)
    check_same_classes(layout.root, set(listing.train), set(listing.val))
    if beyond:
        listing.notes.append(f"{num_beyond} val images are left out, as their {len(beyond)} classes are not in train")
    listing.notes.extend(_what_it_is(listing))
    return listing


def known_oddity(id: str) -> str | None:
    """What is known to be odd about a training image of ILSVRC, and does no harm: `CMYK` or `PNG`."""
    name = Path(id).stem
    return "CMYK" if name in CMYK_NAMES else "PNG" if name == PNG_NAME else None


def _scan_train(listing: Listing, train: Path, progress: ProgressCallback) -> None:
    if train.is_file():
        _scan_train_tar(listing, train, progress)
        _check_wnids(train, set(listing.train))
        return
    paths = _class_paths(train)
    folders = sorted(path.name for path in paths if path.is_dir())
    tars = sorted(path for path in paths if path.is_file() and path.stem not in folders)
    scan_tree(listing, train, "train", folders, progress_of(progress, 0, len(folders) + len(tars)))
    for done, path in enumerate(tars, start=len(folders) + 1):
        listing.stamp(path)
        listing.add("train", path.stem, _images_in(path, f"train/{path.stem}"))
        progress(done, len(folders) + len(tars))
    if empty := {name for name, entries in listing.train.items() if not len(entries)}:
        raise ConfigError(f"{train}: {named(empty)} without images; fill the folder or tar, or remove it.")


def _scan_train_tar(listing: Listing, path: Path, progress: ProgressCallback) -> None:
    """The images of a tar of class tars, as ILSVRC2012_img_train.tar is, or of a tar of class folders."""
    loose: dict[str, list[FoundImage]] = defaultdict(list)
    listing.stamp(path)
    for member, tar in _members(path):
        progress(member.offset_data // MIB, path.stat().st_size // MIB)
        name = Path(member.name)
        if name.suffix == ".tar":
            inner = tar.extractfile(member)
            assert inner is not None, "a regular member has content"
            images = _images_in(path, f"train/{name.stem}", inner=inner, offset=member.offset_data)
            listing.add("train", name.stem, images)
        elif is_image_name(member.name):
            id = f"train/{name.parent.name}/{name.name}"
            loose[name.parent.name].append(FoundImage(id, str(path), member.offset_data, member.size))
    for class_name, images_of_class in loose.items():
        listing.add("train", class_name, images_of_class)


def _images_in(
    path: Path, id: str, progress: ProgressCallback = silent, *, inner: IO[bytes] | None = None, offset: int = 0
) -> Iterator[FoundImage]:
    """The images of a tar, or of the tar `inner` that begins at `offset` in it; their ids are `id` and their names."""
    num_mib = path.stat().st_size // MIB
    for member, _ in _members(path, inner):
        if is_image_name(member.name):
            name = Path(member.name).name
            yield FoundImage(f"{id}/{name}", str(path), offset + member.offset_data, member.size)
        progress(member.offset_data // MIB, num_mib)


def _members(path: Path, inner: IO[bytes] | None = None) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """The regular files of a tar, or of the tar `inner` in it, one after the other.

    Raises `ConfigError` if it is cut short or compressed: an image could not be read from where it lies.
    """
    try:
        with tarfile.open(path, "r:", fileobj=inner) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # which would keep every member
                if member.isreg():
                    yield member, tar
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(
            f"{path} is not a whole, uncompressed tar ({error}); compare its size and checksum with the source's and "
            "copy it again, or extract it."
        ) from error


def _scan_flat_val(listing: Listing, layout: Layout, order: str, progress: ProgressCallback) -> None:
    if layout.val.is_file():
        listing.stamp(layout.val)
        images = list(_images_in(layout.val, "val", progress))
    else:
        images, _ = scan_files(layout.val, "val", listing.stamp)
    labels = _labels(layout, order, listing.classes)
    lists = " or ".join(map(str, layout.labels))
    listing.add_labelled("val", images, lambda name: labels.get(image_number(name) or 0), lists)


def _labels(layout: Layout, order: str, classes: list[str]) -> dict[int, str]:
    """What the lists say; where there are several, they must say the same."""
    first, *others = layout.labels
    labels = read_labels(first, order, classes)
    for path in others:
        more = read_labels(path, order, classes)
        if differing := next(
            (number for number in labels.keys() & more.keys() if labels[number] != more[number]), None
        ):
            raise ConfigError(
                f"{first} and {path} label validation image {differing} differently ({shown(labels[differing])}, "
                f"{shown(more[differing])}); remove one of them, or give data.labels=FILE."
            )
        labels |= more
    return labels


def _check_class_folders(listing: Listing, layout: Layout, order: str) -> None:
    """Compare the class folders of val with the list of labels, if there is one, and with the known first images.

    Raises `ConfigError` if they were filled in a wrong order; single images in the wrong folder are noted.
    """
    ids = {id: name for name in sorted(listing.val) for id in listing.val[name].ids}
    lies_in = {number: name for id, name in ids.items() if (number := image_number(id)) is not None}
    labels = _labels(layout, order, listing.classes) if layout.labels else {}
    both = lies_in.keys() & labels.keys()
    wrong = {number for number in both if lies_in[number] != labels[number]}
    why = misplaced_by(lies_in)
    if why or (both and len(wrong) > len(both) / 2):
        raise ConfigError(
            f"{layout.val} was sorted into class folders in a wrong order: "
            + (f"{why}." if why else f"{len(wrong)} of {len(both)} images are of another class by their labels.")
            + " Put its images back into one folder, beside the development kit."
        )
    listing.mislabelled = [
        [id, labels[number]] for id in ids if (number := image_number(id)) in wrong and number is not None
    ]


def _what_it_is(listing: Listing) -> list[str]:
    notes = []
    num_train, num_val = (sum(map(len, by_class.values())) for by_class in (listing.train, listing.val))
    if strange := set(listing.classes) - set(synsets()):
        notes.append(f"{len(strange)} of {len(listing.classes)} classes are not ILSVRC's, such as {min(strange)}")
    elif len(listing.classes) < len(synsets()):
        notes.append(f"a part of ILSVRC: {len(listing.classes)} of its {len(synsets())} classes")
    elif (num_train, num_val) == (NUM_TRAIN, NUM_VAL):
        notes.append("ILSVRC-2012 as published: every image is there")
    else:
        notes.append(
            f"not all of ILSVRC: {num_train:,} of {NUM_TRAIN:,} training images and {num_val:,} of {NUM_VAL:,} "
            "validation images"
        )
    odd = [known_oddity(id) for entries in listing.train.values() for id in entries.ids]
    if any(odd):
        notes.append(
            f"{odd.count('CMYK')} of ILSVRC's {len(CMYK_NAMES)} CMYK images and {odd.count('PNG')} PNG named .JPEG are "
            "among the training images; they are read as RGB"
        )
    return notes


def _first(bases: list[Path], folders: tuple[str, ...], tars: tuple[str, ...]) -> Path | None:
    """The first of the folders that holds something, or of the tars in a base or in such a folder."""
    inside = [base / folder for base in bases for folder in folders if (base / folder).is_dir()]
    packed = [folder / tar for folder in [*bases, *inside] for tar in tars if (folder / tar).is_file()]
    whole = [folder for folder in inside if any(path.is_dir() or path.name not in tars for path in _visible(folder))]
    return next(iter([*whole, *packed, *inside]), None)


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_visible(path.name)]


def _class_paths(train: Path) -> list[Path]:
    return [path for path in _visible(train) if path.is_dir() or (path.suffix == ".tar" and WNID.fullmatch(path.stem))]


def _check_wnids(container: Path, names: set[str]) -> None:
    if not names:
        raise ConfigError(f"{container} has no classes; it must hold a folder or tar for each, named by its wnid.")
    if strange := sorted(name for name in names if not WNID.fullmatch(name)):
        raise ConfigError(
            f"{container}: ILSVRC's classes are wnids such as n01440764, but there is {strange[0]}"
            + (
                "; numbers may follow the sorted wnids or the development kit: name the folders by wnid."
                if strange[0].isdigit()
                else "; use data=folder for other sets."
            )
        )
