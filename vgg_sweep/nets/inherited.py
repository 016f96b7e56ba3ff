"""What the deeper nets take from A (Sect. 3.1), and whether a net can. Needs no torch."""

from collections.abc import Collection

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.columns import parse_columns

LAYERS_OF_A = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")
"""What the deeper nets take from A. "The first four convolutional layers" (Sect. 3.1) cannot be meant by index, since
their shapes would differ; taking the layers of the same stage and name is our reading."""


def taken_from(names: Collection[str]) -> list[str]:
    """The layers taken from a net A that has the layers `names`: a convolution brings its batch normalisation along."""
    with_norms = dict.fromkeys(name for layer in LAYERS_OF_A for name in (layer, layer.replace("conv", "bn")))
    return [name for name in with_norms if name in LAYERS_OF_A or name in names]


def check_inherits(config: Config, parent: Config, num_classes: int) -> None:
    """Raise `ConfigError` if the net of `config` cannot take the layers of `parent`: it lacks one, or has it in another
    shape.
    """
    size = {"width": config.width, "classes": num_classes, "crop": config.crop}
    own = {layer.name: layer for layer in parse_columns(config.model.columns, **size)}  # type: ignore[arg-type]
    theirs = {layer.name: layer for layer in parse_columns(parent.model.columns, **size)}  # type: ignore[arg-type]
    instead = (
        f"write `parent: null` into the file of model={config.model.name}, or give warm_start=none, to train it from "
        "random weights."
    )
    starts = f"model={config.model.name} starts from {parent.model.name} (`parent: {parent.model.name}`)"
    layers = taken_from(theirs)
    if lacking := [name for name in layers if name not in own or name not in theirs]:
        whose = config.model.name if lacking[0] not in own else parent.model.name
        raise ConfigError(f"{starts}, but {whose} has no {lacking[0]}; {instead}")
    for name in layers:
        here, there = ((layer.kernel, layer.in_channels, layer.out_channels) for layer in (own[name], theirs[name]))
        if here != there:
            raise ConfigError(
                f"{starts}, whose {name} has another shape ({_shape(there)}, here {_shape(here)}); {instead}"
            )


def _shape(layer: tuple[int, int, int]) -> str:
    side, in_channels, out_channels = layer
    return f"{side}x{side}, {in_channels} to {out_channels} channels"
