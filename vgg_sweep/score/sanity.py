"""Before an imported net is scored: do its weights, its preprocessing and its classes belong together?

A wrong order of channels or classes, or a wrong range, gives errors as good as any to look at. So some images go
through first; a net that knows next to none of them is refused, with what would mend it if that can be found.

Axes: N images, K classes.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import comb

import numpy as np
import torch

from vgg_sweep.config import Config, Preprocessing, RunError, load_option, test_scales
from vgg_sweep.device import Device, net_input
from vgg_sweep.images.preprocessing import in_rgb
from vgg_sweep.images.splits import ImageSet, Split
from vgg_sweep.images.views import rescaled, views
from vgg_sweep.images.wnids import devkit_order, sorted_order
from vgg_sweep.nets.vgg import VGG, posteriors
from vgg_sweep.nets.weights import read_metadata
from vgg_sweep.store import RunFolder
from vgg_sweep.vocabulary import groups

NUM_IMAGES = 64
SURE = 1e-4
"""A net is refused if one that knows every other image would know so few of them less often than this."""


def classes_of(folder: RunFolder) -> list[str]:
    """The classes of an imported net, in the order of its outputs. Raises `RunError` if its weights are not there."""
    if not folder.is_trained:
        raise RunError(f"{folder.path} holds no weights; import the file again.")
    return list(json.loads(read_metadata(folder.weights)["classes"]))


def for_the_net(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """`images` with the classes of the net, in its order; the net may know more than the images show.

    Raises `RunError` for images of classes that the net does not know.
    """
    places = {name: place for place, name in enumerate(classes)}
    if unknown := [name for name in images.classes if name not in places]:
        raise RunError(
            f"{len(unknown)} of the {len(images.classes)} classes of the images, such as {unknown[0]}, are none of the "
            f"net's {len(classes)}, such as {classes[0]}; name the net's with imported.class_order=FILE when importing."
        )
    order_K = np.array([places[name] for name in images.classes])
    train, val = (replace(split, labels_N=order_K[split.labels_N]) for split in (images.train, images.val))
    return replace(images, train=train, val=val, classes=list(classes))


def check_classifier(net: VGG) -> None:
    """Raise `RunError` if the FC layers of `net` are no numbers, as in a file that is for features only."""
    if not all(parameter.isfinite().all() for parameter in net.classifier.parameters()):
        raise RunError(
            "the FC layers of this net are NaN, as in torchvision's IMAGENET1K_FEATURES: it has features up to pool5, "
            "but no scores; import a file with the classifier."
        )


def check_sanity(net: VGG, config: Config, images: ImageSet, device: Device) -> dict[str, int]:
    """How many of some centre crops the net knows, for the record: `images` and `known`, among its five best classes,
    or as the best where there are few classes.

    `images` are those of `for_the_net`. Raises `RunError` if the scores are not finite, or if the net knows so few that
    something must be wrong.
    """
    check_classifier(net)
    net.to(device.place).eval()
    split = images.val
    rows = np.unique(np.linspace(0, len(split) - 1, NUM_IMAGES).round().astype(int))
    labels_N = split.labels_N[rows]
    posteriors_NK = _posteriors(net, config, split, rows, config.preprocessing, device)
    if not np.isfinite(posteriors_NK).all():
        raise RunError("the net's scores are not finite on the first images; the file is damaged, or no VGG of ours.")
    known = _num_known(posteriors_NK, labels_N)
    if _chance_of_so_few(known, len(rows)) < SURE:
        raise RunError(
            f"the net knows {known} of {len(rows)} images, so something is wrong, and nothing was scored. "
            + _remedy(net, config, images, rows, posteriors_NK, device, known)
        )
    return {"images": len(rows), "known": known}


def _posteriors(
    net: VGG, config: Config, split: Split, rows: np.ndarray, preprocessing: Preprocessing, device: Device
) -> np.ndarray:
    """posteriors_NK of centre crops, if the file that was imported were for `preprocessing`."""
    Q_px = test_scales(config.train_scale.S, "single", config.crop)[0]
    is_other_order = preprocessing.channel_order != config.preprocessing.channel_order
    result = []
    with torch.inference_mode(), device.autocast():
        for row in rows:
            image_HWC = rescaled(split.image(int(row)), Q_px, preprocessing.interpolation)
            crop_1HWC = torch.from_numpy(views(image_HWC, "centre-crop", config.crop))
            images_1CHW = net_input(crop_1HWC.permute(0, 3, 1, 2).to(device.place), in_rgb(preprocessing))
            scores_1Khw = net(images_1CHW.flip(1) if is_other_order else images_1CHW)
            result.append(posteriors(scores_1Khw).cpu().numpy())
    return np.concatenate(result)


def _num_known(posteriors_NK: np.ndarray, labels_N: np.ndarray) -> int:
    best = 5 if posteriors_NK.shape[1] > 50 else 1
    guesses_Nk = np.argsort(-posteriors_NK, axis=1)[:, :best]
    return int((guesses_Nk == labels_N[:, None]).any(axis=1).sum())


def _chance_of_so_few(known: int, num_images: int) -> float:
    """Probability that a net which knows every other image knows at most `known`."""
    return sum(comb(num_images, each) for each in range(known + 1)) / 2.0**num_images


def _remedy(
    net: VGG,
    config: Config,
    images: ImageSet,
    rows: np.ndarray,
    posteriors_NK: np.ndarray,
    device: Device,
    known: int,
) -> str:
    """What would make it know more, as the option to import it with."""
    labels_N = images.val.labels_N[rows]
    tried = {
        f"imported.class_order={name}": _num_known(posteriors_NK, _relabelled(labels_N, images.classes, order))
        for name, order in {"ilsvrc": sorted_order(), "devkit": devkit_order()}.items()
        if set(order) == set(images.classes)
    }
    for name in groups()["preprocessing"]:
        option = load_option("preprocessing", name)
        if option != config.preprocessing:
            tried[f"preprocessing={name}"] = _num_known(
                _posteriors(net, config, images.val, rows, option, device), labels_N
            )
    best = max(tried, key=lambda each: tried[each])
    if _chance_of_so_few(tried[best], len(rows)) >= SURE and tried[best] > known:
        return f"With {best} it knows {tried[best]}: import the file again with that."
    return (
        f"Neither another order of the classes nor another preprocessing helps ({', '.join(tried)}): do the weights, "
        "the list of classes and the images belong together?"
    )


def _relabelled(labels_N: np.ndarray, classes: Sequence[str], order: Sequence[str]) -> np.ndarray:
    """The labels, if the net's outputs were in `order`."""
    places = {name: place for place, name in enumerate(order)}
    return np.array([places[classes[label]] for label in labels_N])
