"""Fetching the published sets, where torchvision knows how: it compares checksums and unpacks.

Nothing is fetched that is there.
"""

from contextlib import suppress
from pathlib import Path

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError, RunError

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


def folder_for(data: Data) -> Path:
    """The folder to fetch the set that `data` names into. Raises `ConfigError` if it must be got by hand."""
    if data.source in BY_HAND:
        raise ConfigError(f"data.download=true: {BY_HAND[data.source]}.")
    if data.root is None:
        raise ConfigError(f"data={data.name} data.download=true needs data.root=DIR, the folder to put the set into.")
    return Path(data.root).expanduser()


def download(data: Data) -> None:
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
