"""The nets as people have them without this program: torchvision's, run the way its reference script does."""

from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from vgg_sweep.config.schema import Config
from vgg_sweep.nets.columns import FC_CHANNELS

COLUMNS = ("A", "B", "D", "E")
"""The columns of Table 1 that torchvision has, under the same letters."""
BATCH = 32
"""Of torchvision's reference script, which trains in fp32, NCHW, not compiled, unless told otherwise."""


def plain_net(config: Config, num_classes: int) -> nn.Module:
    """torchvision's VGG of this column, at the width and crop of `config`. Only for `COLUMNS`."""
    words = [word if word == "M" else max(1, round(int(word) * config.width)) for word in cfgs[config.model.name]]
    hidden, side = max(1, round(FC_CHANNELS * config.width)), config.crop // 32
    return nn.Sequential(
        make_layers(words),
        nn.AdaptiveAvgPool2d(side),
        nn.Flatten(),
        *(nn.Linear(words[-2] * side * side, hidden), nn.ReLU(True), nn.Dropout()),
        *(nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout()),
        nn.Linear(hidden, num_classes),
    )
