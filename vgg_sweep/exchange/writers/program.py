"""A net as a self-contained program, from pixels to posteriors, and PyTorch's format for it: pt2.

Programs take images of any size that the net can see, in RGB from 0 to 255, subtract the mean themselves and have two
results: posteriors_NK, those of dense evaluation of the image without its flip (Sect. 3.2), and the class score map,
scores_NKhw. Axes: N images, C colours, H W pixels, K classes, h w positions of the class score map.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as config

from vgg_sweep.exchange.tag import KEY, tag_text
from vgg_sweep.nets import lrn
from vgg_sweep.nets.dropout import Dropout
from vgg_sweep.nets.lrn import LRN
from vgg_sweep.nets.skip import Chain, Skip
from vgg_sweep.nets.vgg import VGG, FullyConnected, posteriors
from vgg_sweep.predict.trained import TrainedNet

PIXELS, POSTERIORS, SCORES = "pixels", "posteriors", "scores"
"""What the input and the results are called."""


class Program(nn.Module):
    """`net` from pixels_NCHW to (posteriors_NK, scores_NKhw), built only from torch's own layers.

    Its input is pixel * gain + offset.
    """

    gain_C11: Tensor
    offset_C11: Tensor

    def __init__(self, net: VGG, gain_C: list[float], offset_C: list[float]) -> None:
        super().__init__()
        self.register_buffer("gain_C11", torch.tensor(gain_C)[:, None, None])
        self.register_buffer("offset_C11", torch.tensor(offset_C)[:, None, None])
        self.layers = Chain(OrderedDict(plain_layers(net)))
        self.eval()

    def forward(self, pixels_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        scores_NKhw = self.layers(pixels_NCHW * self.gain_C11 + self.offset_C11)
        return posteriors(scores_NKhw), scores_NKhw


def plain_layers(net: VGG) -> list[tuple[str, nn.Module]]:
    """The layers of `net` at test time as torch's own, with the released models' names: conv1_1, relu1_1, pool1, fc6.

    FC layers are convolutions (Sect. 3.2), there is no dropout, and the weights are shared with `net`. Those of the
    feature chain keep their places, by which a `Skip` knows where its block starts.
    """
    layers: list[tuple[str, nn.Module]] = []
    number = ""
    for part in ("features", "classifier"):
        for index, module in enumerate(getattr(net, part)):
            name = net.layer_names.get(f"{part}.{index}")
            if name is not None and not isinstance(module, Skip):  # the ReLU behind a sum is its convolution's
                number = name.lstrip("abcdefghijklmnopqrstuvwxyz")
            match module:
                case Dropout():
                    continue
                case nn.ReLU():
                    layers.append((f"relu{number}", nn.ReLU()))  # not in place: exported programs keep their inputs
                case nn.BatchNorm2d():
                    layers.append((f"bn{number}", module))
                case LRN():
                    layers.append((str(name), nn.LocalResponseNorm(lrn.N, lrn.N * lrn.ALPHA, lrn.BETA, lrn.K)))
                case FullyConnected():
                    layers.append((str(name), _as_conv(module)))
                case _:
                    layers.append((str(name), module))
    return layers


def _as_conv(fc: FullyConnected) -> nn.Conv2d:
    channels = fc.in_features // fc.kernel**2
    conv = nn.Conv2d(channels, fc.out_features, fc.kernel, device="meta")
    conv.weight = nn.Parameter(fc.weight.view(-1, channels, fc.kernel, fc.kernel))
    conv.bias = fc.bias
    return conv


def program(loaded: TrainedNet) -> Program:
    """The net of `loaded` with its preprocessing."""
    own = loaded.preprocessing
    gain_C = [own.pixel_max / (255 * std) for std in own.std]
    offset_C = [-mean / std for mean, std in zip(own.mean, own.std, strict=True)]
    return Program(loaded.net, gain_C, offset_C)


def save_pt2(loaded: TrainedNet, path: Path) -> None:
    """Write a program for `torch.export.load`, for any number of images and any size from the crop on."""
    any_size = torch.export.Dim.DYNAMIC
    with config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # else a single image, or a map of one position, is a case apart
        exported = torch.export.export(
            program(loaded), (_images(loaded),), dynamic_shapes=({0: any_size, 2: any_size, 3: any_size},)
        )
    torch.export.save(exported, path, extra_files={KEY: tag_text(loaded, loaded.preprocessing)})


def pt2_example(loaded: TrainedNet, file: str) -> list[str]:
    """See `exporting.Format`."""
    return [
        "import torch",
        "",
        f"net = torch.export.load({file!r}).module()",
        "with torch.no_grad():",
        "    posteriors_NK, scores_NKhw = net(torch.from_numpy(pixels_NCHW).float())",
    ]


def _images(loaded: TrainedNet) -> Tensor:
    """Images to follow through the program: several, and of sides that are nothing special."""
    return torch.zeros(2, 3, loaded.config.crop + 64, loaded.config.crop + 96)
