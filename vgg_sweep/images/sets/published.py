"""Published sets of image files with lists of their own: Tiny ImageNet, Food-101, Flowers-102, Caltech-101,
Caltech-256, Imagenette.

Each is read as it comes out of its archive. Where a set has a test part whose labels are public, as Food-101's and
Flowers-102's, val is that part: it is what errors are published on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.folders import check_same_classes, class_folders, root_of, scan_files, scan_tree, scan_trees
from vgg_sweep.images.sets.index import Listing, ProgressCallback

Scan = Callable[[Listing, Path, ProgressCallback], None]


@dataclass(frozen=True)
class PublishedSet:
    """A set as its archive unpacks."""

    folder: str
    mark: str
    """What lies in the folder, by which it is known."""
    scan: Scan


def find_published(data: Data) -> Path:
    """The set's own folder: `data.root`, or the one in it that the archive made.

    Raises `ConfigError` if it is neither.
    """
    published = SETS[data.source]
    root = root_of(data, f"the folder with {published.folder}/")
    for folder in (root / published.folder, root):
        if (folder / published.mark).exists():
            return folder
    raise ConfigError(
        f"{root} has no {published.folder}/ with {published.mark} in it; put the set there"
        + ("." if data.source == "tiny-imagenet" else ", or give data.download=true to download it.")
    )


def scan_published(data: Data, progress: ProgressCallback) -> Listing:
    """All images of the set, with its own split unless `data.val_share` makes one."""
    folder, published = find_published(data), SETS[data.source]
    listing = Listing(layout=f"{published.folder} as published, in {folder}")
    published.scan(listing, folder, progress)
    if data.val_share is None:
        check_same_classes(folder, set(listing.train), set(listing.val))
    return listing


def _scan_tiny_imagenet(listing: Listing, folder: Path, progress: ProgressCallback) -> None:
    listing.classes = sorted(class_folders(folder / "train"))
    scan_tree(listing, folder / "train", "train", listing.classes, progress)
    annotations = folder / "val" / "val_annotations.txt"
    if not (folder / "val" / "images").is_dir():  # sorted into class folders, as many have done
        scan_tree(listing, folder / "val", "val", sorted(class_folders(folder / "val")), progress)
        return
    listing.stamp(annotations)
    wnids = dict(line.split("\t")[:2] for line in annotations.read_text(encoding="utf-8").splitlines())
    images, _ = scan_files(folder / "val" / "images", "val", listing.stamp)
    listing.add_labelled("val", images, wnids.get, str(annotations))


def _scan_food101(listing: Listing, folder: Path, progress: ProgressCallback) -> None:
    in_split: dict[str, str] = {}
    for split, part in (("train", "train"), ("val", "test")):
        file = folder / "meta" / f"{part}.txt"
        listing.stamp(file)
        in_split |= dict.fromkeys((f"{name}.jpg" for name in file.read_text(encoding="utf-8").split()), split)
    classes = sorted(class_folders(folder / "images"))
    for done, name in enumerate(classes, start=1):
        images, _ = scan_files(folder / "images" / name, name, listing.stamp)
        for split in listing.splits:
            chosen = [image._replace(id=f"{split}/{image.id}") for image in images if in_split.get(image.id) == split]
            if chosen:
                listing.add(split, name, chosen)
        progress(done, len(classes))
    listing.classes = sorted(listing.train)


def _scan_flowers102(listing: Listing, folder: Path, progress: ProgressCallback) -> None:
    """Train is the set's training and validation images, 20 a class."""
    from scipy.io import loadmat
    from torchvision.datasets import Flowers102

    files = {name: folder / f"{name}.mat" for name in ("imagelabels", "setid")}
    for file in files.values():
        listing.stamp(file)
    labels_N = loadmat(files["imagelabels"])["labels"].ravel()
    val_numbers = set(loadmat(files["setid"])["tstid"].ravel().tolist())
    images, _ = scan_files(folder / "jpg", "", listing.stamp)
    names: list[str] = list(Flowers102.classes)

    def number(name: str) -> int:
        return int(Path(name).stem.rpartition("_")[2])

    def class_of(name: str) -> str:
        return names[int(labels_N[number(name) - 1]) - 1]

    for split in listing.splits:
        chosen = [image for image in images if (number(image.id) in val_numbers) == (split == "val")]
        listing.add_labelled(split, chosen, class_of, str(files["imagelabels"]))
    listing.classes = [name for name in names if name in listing.train]
    progress(len(images), len(images))


CALTECH = {"caltech101": "101_ObjectCategories", "caltech256": "256_ObjectCategories"}
"""The folder of each, whose clutter is no class here; in Table 11 it is one (`probe_set.py`)."""


def _of_trees(*, clutter: str = "", **trees: str) -> Scan:
    """The scan of a set with a tree a split, whose folder `clutter` is not one of the classes."""

    def scan(listing: Listing, folder: Path, progress: ProgressCallback) -> None:
        paths = {split: folder / tree for split, tree in trees.items()}
        found = {split: (tree, sorted(class_folders(tree) - {clutter})) for split, tree in paths.items()}
        scan_trees(listing, found, progress)
        listing.classes = found["train"][1]

    return scan


_scan_caltech101 = _of_trees(train=CALTECH["caltech101"], clutter="BACKGROUND_Google")
_scan_caltech256 = _of_trees(train=CALTECH["caltech256"], clutter="257.clutter")
_scan_imagenette = _of_trees(train="train", val="val")


SETS = {
    "tiny-imagenet": PublishedSet("tiny-imagenet-200", "wnids.txt", _scan_tiny_imagenet),
    "food101": PublishedSet("food-101", "meta", _scan_food101),
    "flowers102": PublishedSet("flowers-102", "setid.mat", _scan_flowers102),
    "caltech101": PublishedSet("caltech101", CALTECH["caltech101"], _scan_caltech101),
    "caltech256": PublishedSet("caltech256", CALTECH["caltech256"], _scan_caltech256),
    "imagenette": PublishedSet("imagenette2", "train", _scan_imagenette),
    "imagenette-320": PublishedSet("imagenette2-320", "train", _scan_imagenette),
    "imagenette-160": PublishedSet("imagenette2-160", "train", _scan_imagenette),
}
