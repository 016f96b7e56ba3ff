"""Settings of nets that were trained elsewhere."""

from dataclasses import dataclass

from vgg_sweep.config.roles import net


@dataclass
class Imported:
    """Weights trained elsewhere, which replace training in a run; `vgg-sweep import` fills this in."""

    sha256: str | None = net(None)
    """Of the file; null where a run trains."""
    source: str | None = net(None)
    """What wrote the file: torchvision, timm, oxford, caffe or keras."""
    class_order: str = net("ilsvrc")
    """The order of the net's outputs: `ilsvrc` (sorted wnids, as in Caffe, torchvision, timm and Keras), `devkit` (the
    ILSVRC2012_ID of its development kit), or a text file with a class a line.
    """
    state_dict: str | None = net(None)
    """Which state dict to take from a file that holds several, such as `ema`."""
    last_layer: str | None = net(None)
    """What the file calls fc8, if it is not what the others of its kind call it."""
    mirrored: bool | None = net(None)
    """Whether kernels are mirrored, as for Theano's convolution; null if the file's layout says so."""
    trunk: bool = net(False)
    """Whether the net has no FC layers, as in Keras's `notop` files; if true, anything else in a file is left out."""


@dataclass
class Preprocessing:
    """What an image becomes before it enters an imported net; it belongs to the weights.

    A net trained here uses the training set's mean RGB and `recipe.pixel_max` instead (Sect. 2.1).
    """

    name: str = net("own")
    channel_order: str = net("RGB", choices=("RGB", "BGR"))
    pixel_max: float = net(255.0, above=0)
    """Pixels run from 0 to this before the mean is subtracted."""
    mean: list[float] = net([])
    """In units of `pixel_max` and in `channel_order`, as `std`."""
    std: list[float] = net([1.0, 1.0, 1.0])
    interpolation: str = net("bilinear", choices=("nearest", "bilinear", "bicubic", "lanczos"))
    """Filter of the rescaling to Q, with antialiasing."""
