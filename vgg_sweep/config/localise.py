"""Settings of localisation (Appendix A), and what follows from them for the last FC layer."""

from dataclasses import dataclass

from vgg_sweep.config.roles import setting

NUM_COORDINATES = 4
"""Of a box as a net predicts it: centre x, centre y, width, height."""

BOX_METHODS = ("dense", "centre-crop")
"""How boxes are predicted."""


@dataclass
class Localise:
    """How a net learns boxes, under `task=localise`; batches, momentum, decay and schedule are those of `recipe`.

    What the paper leaves open is an option here.
    """

    lr: float = setting(0.001, above=0)
    """Initial rate, of all layers that are trained."""
    epochs: float = setting(74.0, above=0)
    """Budget in passes over the training images that have a box. Not stated in the paper."""
    init: str = setting("recipe", choices=("recipe", "normal", "literal", "glorot", "he"))
    """Initialisation of the new last layer: that of `recipe.init`, or one of its choices. With `he` the first boxes are
    off by whole crops, which at a high rate destroys what the layers below know.
    """
    views: str = setting("crop", choices=("crop", "wide"))
    """`crop`: a net learns from crops alone. `wide`: in every other batch from views half as large again, as far as S
    allows, each position of whose map learns the box of its own crop. So a net meets crops with surroundings, as in
    dense evaluation, where others have padding, which of a small map tells it where it is. Not stated in the paper.
    """
    units: str = setting("crop", choices=("crop", "pixels"))
    """What the four outputs count: `crop`, shares of the crop's side; `pixels` of the crop, whose gradients are those
    of `crop` times its side. Both from its top left corner. Not stated in the paper.
    """
    which_box: str = setting("overlap", choices=("overlap", "largest"))
    """The box to learn if an image has several of its class: that which has most of its area in common with the
    crop, or the `largest` of the image. Not stated in the paper.
    """
    outside: str = setting("keep", choices=("keep", "clip", "skip"))
    """The target of an object not wholly in the crop. `keep`: its box as it is, beyond the crop too; `clip`: the
    part of it in the crop, nothing if there is none; `skip`: nothing if its centre is outside. Not stated in the paper.
    """
    loss_weight: float = setting(1.0, above=0)
    """Factor on the Euclidean loss, which is half the squared distance, as in Caffe. Not stated in the paper."""


def num_outputs(task: str, boxes: str, num_classes: int) -> int:
    """Of the last FC layer: a score a class, or one box for all classes (SCR), or a box a class (PCR)."""
    if task == "classify":
        return num_classes
    return NUM_COORDINATES * (num_classes if boxes == "pcr" else 1)
