"""Published sets of image files with lists of their own: Tiny ImageNet, Food-101, Flowers-102, Caltech-101, Imagenette.

Each is read as it comes out of its archive. Where a set has a test part whose labels are public, as Food-101's and
Flowers-102's, val is that part: it is what errors are published on.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.folders import check_same_classes, class_folders, progress_of, root_of, scan_files, scan_tree
from vgg_sweep.images.sets.index import Entries, Found, Listing, ProgressCallback

FOLDERS = {
    "tiny-imagenet": "tiny-imagenet-200",
    "food101": "food-101",
    "flowers102": "flowers-102",
    "caltech101": "caltech101",
    "imagenette": "imagenette2",
    "imagenette-320": "imagenette2-320",
    "imagenette-160": "imagenette2-160",
}
"""What a set's archive unpacks to."""
MARKS = {
    "tiny-imagenet": "wnids.txt",
    "food101": "meta",
    "flowers102": "setid.mat",
    "caltech101": "101_ObjectCategories",
    "imagenette": "train",
    "imagenette-320": "train",
    "imagenette-160": "train",
}
"""What lies in that folder."""


def find_published(data: Data) -> Path:
    """The set's own folder: `data.root`, or the one in it that the archive made.

    Raises `ConfigError` if it is neither.
    """
    name = FOLDERS[data.source]
    root = root_of(data, f"the folder with {name}/")
    for place in (root / name, root):
        if (place / MARKS[data.source]).exists():
            return place
    raise ConfigError(
        f"{root} has no {name}/ with {MARKS[data.source]} in it; put the set there"
        + ("." if data.source == "tiny-imagenet" else ", or give data.download=true to have it fetched.")
    )


def scan_published(data: Data, progress: ProgressCallback) -> Listing:
    """All images of the set, with its own split unless `data.val_share` makes one."""
    place = find_published(data)
    listing = Listing(layout=f"{FOLDERS[data.source]} as published, in {place}")
    _SCANS[data.source](listing, place, progress)
    if data.val_share is None:
        check_same_classes(place, set(listing.train), set(listing.val))
    return listing


def _scan_tiny_imagenet(listing: Listing, place: Path, progress: ProgressCallback) -> None:
    listing.classes = sorted(class_folders(place / "train"))
    listing.train = scan_tree(listing, place / "train", "train", listing.classes, progress)
    annotations = place / "val" / "val_annotations.txt"
    if not (place / "val" / "images").is_dir():  # sorted into class folders, as many have done
        listing.val = scan_tree(listing, place / "val", "val", sorted(class_folders(place / "val")), progress)
        return
    listing.stamp(annotations)
    wnids = dict(line.split("\t")[:2] for line in annotations.read_text().splitlines())
    images, _ = scan_files(place / "val" / "images", "val", listing.stamp)
    listing.val = _by_class(listing, images, lambda name: wnids.get(name), "val", annotations)


def _scan_food101(listing: Listing, place: Path, progress: ProgressCallback) -> None:
    in_split: dict[str, str] = {}
    for split, part in (("train", "train"), ("val", "test")):
        file = place / "meta" / f"{part}.txt"
        listing.stamp(file)
        in_split |= dict.fromkeys((f"{name}.jpg" for name in file.read_text().split()), split)
    classes = sorted(class_folders(place / "images"))
    for done, name in enumerate(classes, start=1):
        images, _ = scan_files(place / "images" / name, name, listing.stamp)
        for split, by_class in (("train", listing.train), ("val", listing.val)):
            chosen = [image._replace(id=f"{split}/{image.id}") for image in images if in_split.get(image.id) == split]
            if chosen:
                by_class[name] = Entries.of(chosen, listing.places)
        progress(done, len(classes))
    listing.classes = sorted(listing.train)


def _scan_flowers102(listing: Listing, place: Path, progress: ProgressCallback) -> None:
    """Train is the set's training and validation images, 20 a class."""
    from torchvision.datasets import Flowers102

    files = {name: place / f"{name}.mat" for name in ("imagelabels", "setid")}
    for file in files.values():
        listing.stamp(file)
    labels_N = _matlab(files["imagelabels"])["labels"].ravel()
    parts = _matlab(files["setid"])
    val_numbers = set(parts["tstid"].ravel().tolist())
    images, _ = scan_files(place / "jpg", "", listing.stamp)
    names: list[str] = list(Flowers102.classes)

    def number(image: Found) -> int:
        return int(Path(image.id).stem.rpartition("_")[2])

    def class_of(name: str) -> str:
        return names[int(labels_N[int(Path(name).stem.rpartition("_")[2]) - 1]) - 1]

    for split, by_class in (("train", listing.train), ("val", listing.val)):
        chosen = [image for image in images if (number(image) in val_numbers) == (split == "val")]
        by_class.update(_by_class(listing, chosen, class_of, split, files["imagelabels"]))
    listing.classes = [name for name in names if name in listing.train]
    progress(len(images), len(images))


def _scan_caltech101(listing: Listing, place: Path, progress: ProgressCallback) -> None:
    tree = place / "101_ObjectCategories"
    listing.classes = sorted(class_folders(tree) - {"BACKGROUND_Google"})  # clutter, not one of the 101
    listing.train = scan_tree(listing, tree, "train", listing.classes, progress)


def _scan_imagenette(listing: Listing, place: Path, progress: ProgressCallback) -> None:
    listing.classes = sorted(class_folders(place / "train"))
    num_classes = len(listing.classes)
    for number, (split, by_class) in enumerate((("train", listing.train), ("val", listing.val))):
        classes = sorted(class_folders(place / split))
        part = progress_of(progress, number * num_classes, 2 * num_classes)
        by_class.update(scan_tree(listing, place / split, split, classes, part))


_SCANS: Mapping[str, Callable[[Listing, Path, ProgressCallback], None]] = {
    "tiny-imagenet": _scan_tiny_imagenet,
    "food101": _scan_food101,
    "flowers102": _scan_flowers102,
    "caltech101": _scan_caltech101,
    "imagenette": _scan_imagenette,
    "imagenette-320": _scan_imagenette,
    "imagenette-160": _scan_imagenette,
}


def _by_class(
    listing: Listing, images: list[Found], class_of: Callable[[str], str | None], split: str, source: Path
) -> dict[str, Entries]:
    """Images of one folder by the class that a list gives each."""
    by_class: dict[str, list[Found]] = defaultdict(list)
    for image in images:
        name = Path(image.id).name
        if (label := class_of(name)) is None:
            raise ConfigError(f"{Path(image.place) / name} has no label in {source}.")
        by_class[label].append(image._replace(id=f"{split}/{label}/{name}"))
    return {label: Entries.of(found, listing.places) for label, found in by_class.items()}


def _matlab(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    return dict(loadmat(file))
