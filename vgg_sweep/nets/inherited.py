"""What the deeper nets take from A (Sect. 3.1), and whether a net can. Needs no torch."""

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.columns import parse_columns

LAYERS_OF_A = {
    "conv1_1": "features.0",
    "conv2_1": "features.3",
    "conv3_1": "features.6",
    "conv3_2": "features.8",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
"""What the deeper nets take from A. "The first four convolutional layers" (Sect. 3.1) cannot be meant by index, since
their shapes would differ; taking the layers of the same stage and name is our reading."""
LAYERS_OF_A_BN = {
    "conv1_1": "features.0",
    "bn1_1": "features.1",
    "conv2_1": "features.4",
    "bn2_1": "features.5",
    "conv3_1": "features.8",
    "bn3_1": "features.9",
    "conv3_2": "features.11",
    "bn3_2": "features.12",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
"""The same of A with batch normalisation: a convolution takes its normalisation along."""


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
    layers = LAYERS_OF_A_BN if any(layer.kind == "bn" for layer in theirs.values()) else LAYERS_OF_A
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
