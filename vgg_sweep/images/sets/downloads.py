"""Fetching the published sets, where torchvision knows how: it compares checksums and unpacks.

Nothing is fetched that is there.
"""

from pathlib import Path

from vgg_sweep.config.schema import Data
from vgg_sweep.errors import ConfigError, RunError

BY_HAND = {
    "imagenet": "ILSVRC-2012 needs an account at image-net.org: get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar "
    "and ILSVRC2012_devkit_t12.tar.gz, and give their folder as data.root",
    "tiny-imagenet": "torchvision does not know Tiny ImageNet: get tiny-imagenet-200.zip from "
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip, unpack it, and give its folder as data.root",
    "folder": "a set of your own cannot be downloaded: give its folder as data.root",
}


def download(data: Data) -> None:
    """Put the set that `data` names into `data.root`.

    Raises `ConfigError` if it cannot be fetched, and `RunError` if that fails.
    """
    if data.source in BY_HAND:
        raise ConfigError(f"data.download=true: {BY_HAND[data.source]}.")
    if data.root is None:
        raise ConfigError(f"data={data.name} data.download=true needs data.root=DIR, the folder to put the set into.")
    root = Path(data.root).expanduser()
    root.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(data.source, root)
    except (OSError, RuntimeError, EOFError) as error:
        raise RunError(
            f"{data.name} could not be fetched into {root} ({error}); try again, or get it by hand and give its folder "
            "as data.root."
        ) from error


def _fetch(source: str, root: Path) -> None:
    from torchvision import datasets

    match source:
        case "cifar10":
            datasets.CIFAR10(root, download=True)
        case "cifar100":
            datasets.CIFAR100(root, download=True)
        case "stl10":
            datasets.STL10(root, download=True)
        case "caltech101":
            datasets.Caltech101(root, download=True)
        case "flowers102":
            datasets.Flowers102(root, download=True)
        case "food101":
            datasets.Food101(root, download=True)
        case "imagenette" | "imagenette-320" | "imagenette-160":
            size = {"imagenette": "full", "imagenette-320": "320px", "imagenette-160": "160px"}[source]
            datasets.Imagenette(root, size=size, download=True)
