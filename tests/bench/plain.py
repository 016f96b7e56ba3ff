"""The nets as people have them without this program: torchvision's, run the way its reference script does."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
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


def plain_step(config: Config, num_classes: int, batch: int, device: torch.device) -> Callable[[], object]:
    """A step of torchvision's reference script on `batch` images that lie on the device. On a GPU cuDNN searches, as
    that script has it, and convolutions may use TF32, as torch has it by default.
    """
    net = plain_net(config, num_classes).to(device)
    optimizer = torch.optim.SGD(net.parameters(), 1e-6, momentum=0.9, weight_decay=1e-4)
    images_NCHW = torch.randn(batch, 3, config.crop, config.crop, device=device)
    labels_N = torch.randint(0, num_classes, (batch,), device=device)

    def step() -> None:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            loss = F.cross_entropy(net(images_NCHW), labels_N)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return step
