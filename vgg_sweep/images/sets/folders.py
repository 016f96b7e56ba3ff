"""Trees of class folders: `train/` and `val/`, each with a folder per class, or one tree with a part held out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from unicodedata import normalize

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError, some
from vgg_sweep.images.files import EXTENSIONS, files, is_image, is_visible, leads_nowhere
from vgg_sweep.images.sets.index import WHOLE_FILE, FoundImage, Listing, ProgressCallback, one_image_alone

VAL_NAMES = ("val", "valid", "validation")
LAYOUT = "a folder with train/ and val/, each with a folder per class"


def check_folders(data: Data) -> tuple[Path, Path | None, list[str]]:
    """The trees of train and val and their classes, sorted; no tree of val where `data.val_share` makes one.

    Looks at class folders, not at all images. Raises `ConfigError` if they are not there or not of the expected layout.
    """
    root = root_of(data, LAYOUT)
    train = root / "train"
    if data.val_share is not None:
        train = train if train.is_dir() else root
        classes = sorted(class_folders(train))
        for name in classes:
            images = (entry for _, _, entry in files(train / name) if is_image(entry))
            if len(list(islice(images, 2))) == 1:
                raise one_image_alone(data.val_share, name)
        return train, None, classes
    val = next((root / name for name in VAL_NAMES if (root / name).is_dir()), root / "val")
    in_train, in_val = class_folders(train), class_folders(val)
    check_same_classes(root, in_train, in_val)
    return train, val, sorted(in_train)


def scan_folders(data: Data, progress: ProgressCallback) -> Listing:
    """All images of the trees that `check_folders` finds."""
    train, val, classes = check_folders(data)
    listing = Listing(classes=classes, layout="class folders")
    scan_trees(listing, {"train": (train, classes)} | ({} if val is None else {"val": (val, classes)}), progress)
    return listing


def scan_trees(listing: Listing, trees: dict[str, tuple[Path, list[str]]], progress: ProgressCallback) -> None:
    """The images of each split: a tree and its class folders."""
    before, total = 0, sum(len(classes) for _, classes in trees.values())
    for split, (tree, classes) in trees.items():
        scan_tree(listing, tree, split, classes, progress_of(progress, before, total))
        before += len(classes)


def root_of(data: Data, layout: str) -> Path:
    """The folder `data.root`. Raises `ConfigError` if it is not given or not there."""
    if data.root is None:
        raise ConfigError(f"data={data.name} needs data.root=DIR, {layout}.")
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise ConfigError(f"data.root={data.root} is not a folder; give {layout}.")
    return root.resolve()


def class_folders(tree: Path) -> set[str]:
    """The names of the class folders in `tree`, none of them empty. Raises `ConfigError` if there are none."""
    if not tree.is_dir():
        to_split = "the images in it" if tree.name == "train" else "train/"
        raise ConfigError(
            f"{tree.parent} has no {tree.name}/; data.root must hold train/ and val/, each with a folder per class, "
            f"or give data.val_share=0.1 to hold out a tenth of {to_split}."
        )
    classes = {path.name for path in tree.iterdir() if path.is_dir() and is_visible(path.name)}
    if not classes:
        raise ConfigError(f"{tree} has no class folders; put the images of each class in a folder named after it.")
    for name in sorted(classes):
        if not any(is_image(entry) for _, _, entry in files(tree / name)):
            raise ConfigError(f"{tree / name} has no images ({', '.join(EXTENSIONS)}); fill the folder or remove it.")
    return classes


def check_same_classes(root: Path, train: set[str], val: set[str]) -> None:
    """Raise `ConfigError` unless train and val have the same classes."""
    if train != val:
        numbered = all(name.isdigit() for name in val) and not any(name.isdigit() for name in train)
        look_alike = {normalize("NFC", name) for name in train - val} & {normalize("NFC", name) for name in val - train}
        raise ConfigError(
            f"{root}: train/ and val/ must have the same class folders, but {named(train - val)} only in train/ and "
            f"{named(val - train)} only in val/."
            + " Those of val/ are numbers, in whatever order; name them as in train/."
            * numbered
            + " Some of these look alike but are spelled differently: their accents are composed (Unicode NFC) in one "
            "and decomposed (NFD) in the other. Name them alike: `convmv -r -f utf8 -t utf8 --nfc --notest DIR`."
            * bool(look_alike)
        )


def scan_tree(listing: Listing, tree: Path, split: str, classes: Sequence[str], progress: ProgressCallback) -> None:
    """The images of each class folder in `tree`, several folders at a time; ids begin with `split`."""
    listing.stamp(tree)
    left_out: set[str] = set()

    def scan(name: str) -> tuple[list[FoundImage], list[str]]:
        return scan_files(tree / name, f"{split}/{name}", listing.stamp)

    with ThreadPoolExecutor(8) as pool:  # waits on the disk or network, hardly computes
        for done, (name, (images, others)) in enumerate(zip(classes, pool.map(scan, classes), strict=True), start=1):
            listing.add(split, name, images)
            left_out.update(others)
            progress(done, len(classes))
    broken = set(filter(leads_nowhere, left_out))
    for what, paths in (("files without an image's extension", left_out - broken), ("links that lead nowhere", broken)):
        if paths:
            listing.notes.append(f"{len(paths)} {what} are left out, such as {min(paths)}")


def scan_files(folder: Path, id: str, on_folder: Callable[[Path], None]) -> tuple[list[FoundImage], list[str]]:
    """The images in `folder` and its folders, their ids beginning with `id`, and the files that are none."""
    images, left_out = [], []
    for container, relative, entry in files(folder, on_folder):
        if is_image(entry):
            images.append(FoundImage(f"{id}/{relative}", container, WHOLE_FILE, entry.stat().st_size))
        else:
            left_out.append(entry.path)
    return images, left_out


def progress_of(progress: ProgressCallback, before: int, total: int) -> ProgressCallback:
    """The progress of a part, of which `before` was done earlier."""
    return lambda done, _: progress(before + done, total)


def named(names: set[str]) -> str:
    """`a, b, c and 4 more are`."""
    return (some(sorted(names)) or "none") + (" is" if len(names) <= 1 else " are")
