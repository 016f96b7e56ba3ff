"""Small VGGs made of other libraries' parts, with random weights, in the names and shapes that those libraries save."""

import torch
import torchvision
from torch import Tensor, nn

CROP, FC = 64, 256
"""Side of the input in pixels, channels of the FC layers."""
CONVS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


def column(model: str, fc: int = FC) -> list[int | str]:
    """As both libraries write it; every layer is narrower by the same factor as the FC layers."""
    return [
        entry
        for number, channels in zip(CONVS[model], CHANNELS, strict=True)
        for entry in [*[channels * fc // 4096] * number, "M"]
    ]


def torchvision_net(model: str, classes: int = 1000, *, batch_norm: bool = False, seed: int = 0) -> nn.Module:
    with torch.device("meta"):  # its own FC layers are large
        net = torchvision.models.VGG(torchvision.models.vgg.make_layers(column(model), batch_norm), classes)
        side, channels = CROP // 32, 512 * FC // 4096
        net.avgpool = nn.Identity()
        net.classifier[0] = nn.Linear(channels * side**2, FC)
        net.classifier[3] = nn.Linear(FC, FC)
        net.classifier[6] = nn.Linear(FC, classes)
    return _drawn(net, seed)


def timm_net(model: str, classes: int = 1000, *, batch_norm: bool = False, seed: int = 0) -> nn.Module:
    import timm.layers  # with all of timm's models: not for tests that need none
    import timm.models.vgg

    with torch.device("meta"):
        net = timm.models.vgg.VGG(column(model), classes, norm_layer=nn.BatchNorm2d if batch_norm else None)
        net.pre_logits = timm.models.vgg.ConvMlp(512 * FC // 4096, FC, kernel_size=CROP // 32)
        net.head = timm.layers.ClassifierHead(FC, classes)
    return _drawn(net, seed)


def _drawn(net: nn.Module, seed: int) -> nn.Module:
    """Weights and statistics that are all different, so that a wrong place shows, and scores of ordinary size."""
    torch.manual_seed(seed)
    net.to_empty(device="cpu")
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(0, 0.1)
        else:
            tensor.uniform_(0.5, 2)
    return net.eval()


def normalised(pixels_NCHW: Tensor) -> Tensor:
    """As torchvision and timm have it: [0, 1], then mean and deviation."""
    return torchvision.transforms.functional.normalize(
        pixels_NCHW.float() / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
    )
