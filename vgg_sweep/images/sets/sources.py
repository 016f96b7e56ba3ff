"""Where image sets come from: made by formula, arrays of pixels, or files that an index lists; and fetching published
ones, where torchvision knows how: it compares checksums and unpacks. Nothing is fetched that is there.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from vgg_sweep.config.schema import Config, Data, Fractals
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.sets import fractals
from vgg_sweep.images.sets.arrays import (
    ARRAY_SOURCES,
    array_split,
    class_names,
    find_package,
    open_arrays,
    read_arrays,
    write_arrays,
)
from vgg_sweep.images.sets.folders import check_folders, scan_folders
from vgg_sweep.images.sets.imagenet import find_layout, scan_imagenet
from vgg_sweep.images.sets.index import Index, Listing, ProgressCallback, hold_out, indexed, silent
from vgg_sweep.images.sets.published import find_published, scan_published
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.sets.voc import VOC_PARTS
from vgg_sweep.runs.folder import waiting_lock

BY_HAND = {
    "imagenet": "ILSVRC-2012 needs an account at image-net.org: get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar "
    "and ILSVRC2012_devkit_t12.tar.gz, and give their folder as data.root",
    "tiny-imagenet": "torchvision does not know Tiny ImageNet: get tiny-imagenet-200.zip from "
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip, unpack it, and give its folder as data.root",
    "caltech256": "get 256_ObjectCategories.tar from data.caltech.edu, unpack it, and give its folder as data.root",
    "voc2007": "get VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar from host.robots.ox.ac.uk/pascal/VOC, "
    "unpack both in one folder, and give that as data.root",
    "voc2012": "get VOCtrainval_11-May-2012.tar from host.robots.ox.ac.uk/pascal/VOC, unpack it, and give its folder "
    "as data.root",
    "voc2012-action": "it is part of VOC-2012's archive, which data=voc2012 says where to get",
    "folder": "a set of your own cannot be downloaded: give its folder as data.root",
}

BY_TORCHVISION = {
    "cifar10": ("CIFAR10", {}),
    "cifar100": ("CIFAR100", {}),
    "stl10": ("STL10", {}),
    "caltech101": ("Caltech101", {}),
    "flowers102": ("Flowers102", {}),
    "food101": ("Food101", {}),
    "imagenette": ("Imagenette", {"size": "full"}),
    "imagenette-320": ("Imagenette", {"size": "320px"}),
    "imagenette-160": ("Imagenette", {"size": "160px"}),
}
"""Its class and what to call it with."""


def open_images(config: Config, progress: ProgressCallback = silent, *, again: bool = False) -> ImageSet:
    """The image set that `config.data` names, fetched and indexed if need be, or `again`.

    Raises `ConfigError` if it is not there or not of the expected layout.
    """
    data, cache = config.data, Path(config.cache)
    if data.download and data.source != "fractals":
        with waiting_lock(cache / f"download-{data.source}.lock"):
            if not is_here(data):
                _download(data)
    if data.source == "fractals":
        images = _open_fractals(data.fractals, cache, progress)
    elif data.source in ARRAY_SOURCES:
        check_classes(config)  # before the images are unpacked
        images = open_arrays(data, cache, again=again)
    else:
        images = open_index(config, progress, again=again).images
    _check_num_classes(config, len(images.classes))
    return images.read_as(data)


def refuse_dropped(data: Data) -> None:
    """Raise `ConfigError` for a way to read training images that was dropped; runs made with it are still known."""
    for name, value in (("cache", "packed"), ("decode", "scaled")):
        if getattr(data, name) == value:
            raise ConfigError(
                f"data.{name}={value} was dropped, as it gained next to nothing on ILSVRC; leave data.{name} out to "
                "train. Runs made with it can still be scored, reported and exported."
            )


def check_source(data: Data, *, val_alone: bool = False) -> None:
    """Look for what `data` names, without reading any image; of ILSVRC, if that suffices, for `val_alone`.

    Raises `ConfigError` if it is not there or not of the expected layout.
    """
    match data.source:
        case "fractals":
            if data.root is not None:
                raise ConfigError(
                    f"data.root={data.root} is not for data={data.name}, which is drawn; give data=folder."
                )
        case "folder":
            check_folders(data)
        case "imagenet":
            find_layout(data, val_alone=val_alone)
        case source if source in ARRAY_SOURCES:
            find_package(data)
        case source if source in VOC_PARTS:
            raise ConfigError(
                f"data={data.name} has several classes per image, which no net is trained or scored on here; "
                f"`vgg-sweep transfer RUN data={data.name} data.root=DIR` probes a trained net on it."
            )
        case _:
            find_published(data)


def check_classes(config: Config) -> None:
    """Look whether `classes` and data.val_share fit the set, which is here, where that is soon known: of ILSVRC it is
    not before its images are listed. Raises `ConfigError` if they do not.
    """
    match config.data.source:
        case "fractals":
            _check_num_classes(config, config.data.fractals.num_classes)
        case "folder":
            _check_num_classes(config, len(check_folders(config.data)[2]))
        case "imagenet":
            pass
        case source if source in ARRAY_SOURCES:
            if config.classes is not None:
                _check_num_classes(config, len(class_names(config.data)))
        case _ if config.classes is not None or config.data.val_share is not None:
            open_images(config)


def is_here(data: Data) -> bool:
    """Whether a published set is in `data.root`."""
    try:
        check_source(data)
    except ConfigError:
        return False
    return True


def is_indexed(data: Data) -> bool:
    """Whether the set is one of files, which an index lists."""
    return data.source not in ("fractals", *ARRAY_SOURCES)


def open_index(config: Config, progress: ProgressCallback = silent, *, again: bool = False) -> Index:
    """The index of a set of files, made if there is none in the cache, if it is stale, or `again`.

    For an imported net it is of ILSVRC's validation images alone.
    """
    data = config.data
    val_alone = _is_val_alone(config)

    def scan() -> Listing:
        if data.source == "folder":
            listing = scan_folders(data, progress)
        elif data.source == "imagenet":
            listing = scan_imagenet(data, progress, val_alone=val_alone)
        else:
            listing = scan_published(data, progress)
        if data.val_share is not None:
            hold_out(listing, data.val_share, data.split_seed)
        _check_num_classes(config, len(listing.classes))
        return listing

    check_source(data, val_alone=val_alone)  # so that a refusal writes nothing, not even a lock
    return indexed(index_folder(config), scan, again=again)


def index_folder(config: Config) -> Path:
    """Where the index of a set of files lies."""
    data = config.data
    root = str(Path(str(data.root)).expanduser().resolve())
    key = [1, data.source, root, data.val_share, data.split_seed, data.labels, data.labels_order]
    key += ["val alone"] if _is_val_alone(config) else []
    return Path(config.cache) / f"index-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]}"


def _is_val_alone(config: Config) -> bool:
    """Whether the training images are not looked for."""
    return config.data.source == "imagenet" and config.imported.sha256 is not None


def _check_num_classes(config: Config, num_classes: int) -> None:
    """An imported net may know more classes than the images show."""
    if config.imported.sha256 is None and config.classes not in (None, num_classes):
        raise ConfigError(
            f"classes={config.classes}, but {config.data.name} has {num_classes}; leave `classes` out to take the "
            "data's."
        )


def folder_for(data: Data) -> Path:
    """The folder to fetch the set that `data` names into. Raises `ConfigError` if it must be got by hand."""
    if data.source in BY_HAND:
        raise ConfigError(f"data.download=true: {BY_HAND[data.source]}.")
    if data.root is None:
        raise ConfigError(f"data={data.name} data.download=true needs data.root=DIR, the folder to put the set into.")
    return Path(data.root).expanduser()


def _download(data: Data) -> None:
    """Put the set that `data` names into `data.root`.

    Raises `ConfigError` if it cannot be fetched, and `RunError` if that fails.
    """
    root = folder_for(data)
    made = [each for each in (root, *root.parents) if not each.exists()]
    root.mkdir(parents=True, exist_ok=True)
    from torchvision import datasets

    name, settings = BY_TORCHVISION[data.source]
    try:
        getattr(datasets, name)(root, download=True, **settings)
    except (OSError, RuntimeError, EOFError) as error:
        with suppress(OSError):  # what was fetched of it stays
            for folder in made:
                folder.rmdir()
        raise RunError(
            f"{data.name} could not be downloaded into {root} ({error}); try again, or get it by hand and give its "
            "folder as data.root."
        ) from error


def _open_fractals(spec: Fractals, cache: Path, progress: ProgressCallback) -> ImageSet:
    fingerprint = hashlib.sha256(json.dumps(["fractals", 1, asdict(spec)]).encode()).hexdigest()
    folder = cache / f"fractals-{fingerprint[:12]}"
    with waiting_lock(folder / "lock"):
        for name in ("train", "val"):
            if not (folder / f"{name}-labels.npy").exists():
                write_arrays(folder, name, *fractals.render_split(spec, name, progress))
    train, val = (array_split(name, *read_arrays(folder, name)) for name in ("train", "val"))
    return ImageSet(train, val, fractals.class_names(spec), fingerprint)
