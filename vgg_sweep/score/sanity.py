"""Before an imported net is scored: do its weights, its preprocessing and its classes belong together?

A wrong order of channels or classes, or a wrong range, gives errors that look as good as any. So some images go
through first; a net that knows almost none of them is refused, with the remedy if that can be found.

Axes: N images, K classes.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import bdtr  # the binomial distribution

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.config.vocabulary import groups
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.sets.wnids import devkit_order, sorted_order
from vgg_sweep.images.views.crops import rescaled
from vgg_sweep.images.views.preprocessing import in_rgb
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.nets.weights import read_metadata
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.score.score import pass_posteriors

TRUNK = (
    "this net is a trunk, without FC layers: it has features up to pool5, but no scores; give `vgg-sweep train` "
    "start_from=RUN, which trains new ones on it."
)
NUM_IMAGES = 64
LEAST_SHARE = 0.25
"""Of the images, which a net that is worth scoring knows."""
SURE = 1e-4
"""A net is refused if what it knows would come about more rarely than this, were all as it should be."""


def classes_of(folder: RunFolder) -> list[str]:
    """The classes of an imported net, in the order of its outputs. Raises `RunError` if its weights are not there, or
    are a trunk's.
    """
    if not folder.is_trained:
        raise RunError(f"{folder.path} holds no weights; import the file again.")
    if not (classes := json.loads(read_metadata(folder.weights)["classes"])):
        raise RunError(TRUNK)
    return list(classes)


def for_the_net(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """`images` with the classes of the net, in its order; the net may know more than the images show.

    Raises `RunError` for images of classes that the net does not know.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    if unknown := [name for name in images.classes if name not in label_of]:
        raise RunError(
            f"{len(unknown)} of the {len(images.classes)} classes of the images, such as {unknown[0]}, are unknown to "
            f"the net, whose {len(classes)} are such as {classes[0]}; name its own with imported.class_order=FILE."
        )
    order_K = np.array([label_of[name] for name in images.classes])
    train, val = (replace(split, labels_N=order_K[split.labels_N]) for split in (images.train, images.val))
    return replace(images, train=train, val=val, classes=list(classes))


def check_classifier(net: VGG) -> None:
    """Raise `RunError` if `net` has no FC layers, or these are no numbers, as in a file that is for features only."""
    if not len(net.classifier):
        raise RunError(TRUNK)
    if not all(parameter.isfinite().all() for parameter in net.classifier.parameters()):
        raise RunError(
            "the FC layers of this net are NaN, as in torchvision's IMAGENET1K_FEATURES: it has features up to pool5, "
            "but no scores; import a file with the classifier."
        )


def check_sanity(net: VGG, config: Config, images: ImageSet, hardware: Hardware) -> dict[str, int]:
    """How many of some images the net knows by their centre crops, for the record: `images` and `known`.

    `images` are those of `for_the_net`. Raises `RunError` if the scores are not finite, if the net knows so few that
    something must be wrong, or if it knows clearly more with another preprocessing or order of the classes.
    """
    check_classifier(net)
    hardware.hold(net.eval())
    rows = np.unique(np.linspace(0, len(images.val) - 1, NUM_IMAGES).round().astype(int))
    decoded = {row: image for row in rows if (image := images.val.image_or_none(int(row))) is not None}
    labels_N = images.val.labels_N[list(decoded)]
    each = Pass("centre-crop", test_scales(config.train_scale.S, "single", config.crop)[0], False)

    def posteriors_under(preprocessing: Preprocessing) -> np.ndarray:
        """posteriors_NK as they would be if the imported file had been made for `preprocessing`."""
        own = in_rgb(preprocessing)
        images_HWC = [rescaled(image, each.Q, own.interpolation) for image in decoded.values()]
        if preprocessing.channel_order != config.preprocessing.channel_order:
            own = replace(own, mean=own.mean[::-1], std=own.std[::-1])
            images_HWC = [image_HWC[:, :, ::-1] for image_HWC in images_HWC]
        return pass_posteriors(net, images_HWC, each, config.crop, own, hardware)

    posteriors_NK = posteriors_under(config.preprocessing)
    if not np.isfinite(posteriors_NK).all():
        raise RunError("the net's scores are not finite on the first images; the file is damaged, or not a VGG.")
    guesses_N = posteriors_NK.argmax(axis=1)
    known_N = guesses_N == labels_N
    others = {
        option: guesses_N == others_N for option, others_N in _labels_in_other_orders(labels_N, images.classes).items()
    }
    for name in groups()["preprocessing"]:
        if (other := load_option("preprocessing", name)) != config.preprocessing:
            others[f"preprocessing={name}"] = posteriors_under(other).argmax(axis=1) == labels_N
    num_images, known = len(labels_N), int(known_N.sum())
    best = max(others, key=lambda option: others[option].sum())
    if _is_clearly_better(others[best], known_N):
        raise RunError(
            f"the net knows {known} of {num_images} images, but {others[best].sum()} with {best}: nothing was scored; "
            "import the file again with that."
        )
    if bdtr(known, num_images, LEAST_SHARE) < SURE:
        raise RunError(
            f"the net knows {known} of {num_images} images, and nothing was scored. Neither another order of the "
            f"classes nor another preprocessing helps ({', '.join(others)}): do the weights, the list of classes and "
            "the images belong together?"
        )
    return {"images": num_images, "known": known}


def _labels_in_other_orders(labels_N: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """The labels if the net's outputs were in another of ILSVRC's orders, by the option that says so."""
    labels = {}
    for name, order in {"ilsvrc": sorted_order(), "devkit": devkit_order()}.items():
        if set(order) == set(classes) and order != list(classes):
            label_of = {wnid: label for label, wnid in enumerate(order)}
            labels[f"imported.class_order={name}"] = np.array([label_of[classes[label]] for label in labels_N])
    return labels


def _is_clearly_better(other_N: np.ndarray, known_N: np.ndarray) -> bool:
    """By a sign test of the images that one knows and the other does not."""
    better, worse = int((other_N & ~known_N).sum()), int((known_N & ~other_N).sum())
    return bool(bdtr(worse, better + worse, 0.5) < SURE)
