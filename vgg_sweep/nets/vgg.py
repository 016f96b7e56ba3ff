"""The one network: any column of Table 1 as a module.

Axes: N images, C channels, H W pixels, K classes, h w positions of the class score map (L = h * w).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgg_sweep.config.localise import num_outputs
from vgg_sweep.config.schema import Config
from vgg_sweep.nets.columns import parse_columns
from vgg_sweep.nets.dropout import Dropout
from vgg_sweep.nets.layers import Layer
from vgg_sweep.nets.lrn import LRN
from vgg_sweep.nets.skip import Chain, Skip
from vgg_sweep.protocols.methods import PAPER_CROP_PX


class FullyConnected(nn.Linear):
    """A fully-connected layer that slides over a larger map: a convolution with no padding (Sect. 3.2).

    Maps input_NChw to output_NChw; where the input has the kernel's size the output has one position. The weight is a
    matrix [out_channels, in_channels * kernel * kernel], and so is the computation: for fc6 of D, batch 64, on two CPU
    cores, forward and backward of `F.conv2d` took 2.6 times as long.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(in_channels * kernel**2, out_channels)
        self.kernel = kernel

    def forward(self, input_NChw: Tensor) -> Tensor:
        height, width = (side - self.kernel + 1 for side in input_NChw.shape[2:])
        if height == width == 1:
            return super().forward(input_NChw.flatten(1))[:, :, None, None]
        windows_NLC = F.unfold(input_NChw, self.kernel).transpose(1, 2)
        return super().forward(windows_NLC).transpose(1, 2).reshape(-1, self.out_features, height, width)


class VGG(nn.Module):
    """A column of Table 1 with its three FC layers, fully convolutional.

    The modules have the indices of torchvision's VGG, and so has the state dict: `features.0.weight`, ...,
    `classifier.0.weight` [4096, 25088]. `layer_names` maps the modules that are layers of the table to the usual names:
    `features.0` is conv1_1, `classifier.0` is fc6. The parameters mean nothing until `initial.draw_weights` or
    `weights.load_weights` sets them.

    Raises `ConfigError` as `parse_columns` does.
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        width: float = 1.0,
        classes: int = 1000,
        crop: int = PAPER_CROP_PX,
        dropout: float = 0.5,
        pool_ceil: bool = False,
    ) -> None:
        super().__init__()
        self.layers = parse_columns(columns, width=width, classes=classes, crop=crop)
        self.layer_names: dict[str, str] = {}
        self.features = Chain()
        self.classifier = nn.Sequential()
        indices: list[int] = []
        for layer, below in pairwise([*self.layers, None]):
            assert layer is not None
            part = "classifier" if layer.kind == "fc" else "features"
            sequence = getattr(self, part)
            self.layer_names[f"{part}.{len(sequence)}"] = layer.name
            indices.append(len(sequence))
            sequence.append(_module(layer, pool_ceil, indices))
            is_whole = below is not None and below.kind not in ("bn", "skip")
            if layer.kind in ("conv", "bn", "skip", "fc") and is_whole:
                sequence.append(nn.ReLU(inplace=True))
                if layer.kind == "fc":
                    sequence.append(Dropout(dropout, layer.out_channels))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The class score map, scores_NKhw: one position for a crop, more for a larger image (Sect. 3.2)."""
        scores_NKhw: Tensor = self.classifier(self.features(images_NCHW))
        return scores_NKhw

    def layer_of(self, tensor: str) -> str:
        """The layer that a tensor of the state dict belongs to."""
        return self.layer_names[".".join(tensor.split(".")[:2])]

    def draw_dropout(self, num_images: int, rows: Sequence[int], seed: int) -> None:
        """Set the dropout masks of the images `rows` of a batch of `num_images`, for the next forward passes in
        training. They are the same however the batch is split.
        """
        device = next(self.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)
        for module in self.classifier:
            if isinstance(module, Dropout) and module.p:
                module.draw(num_images, rows, generator)


def _module(layer: Layer, pool_ceil: bool, indices: Sequence[int]) -> nn.Module:
    """The module of a layer; `indices` are those of all layers down to it, in their chain."""
    if layer.shortcut is not None:
        return Skip(layer.shortcut, layer.out_channels, indices[-1 - layer.shortcut.over])
    match layer.kind:
        case "conv":
            return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding)
        case "bn":
            return nn.BatchNorm2d(layer.out_channels)
        case "lrn":
            return LRN()
        case "maxpool":
            return nn.MaxPool2d(layer.kernel, layer.stride, ceil_mode=pool_ceil)
        case "avgpool":
            return nn.AdaptiveAvgPool2d(1)
        case "fc":
            return FullyConnected(layer.in_channels, layer.out_channels, layer.kernel)
    raise AssertionError(layer)


def posteriors(scores_NKhw: Tensor) -> Tensor:
    """Class posteriors, posteriors_NK in float32: the mean of the class score map over positions, then the soft-max.

    Sect. 3.2 averages the class score map over space and the soft-max posteriors over flips; that the soft-max comes
    between the two is our inference.
    """
    return scores_NKhw.float().mean((2, 3)).softmax(1)


def build_net(config: Config, num_classes: int) -> VGG:
    """The net of `config`, not yet initialised."""
    return VGG(
        config.model.columns,
        width=config.width,
        classes=num_outputs(config.task, config.boxes, num_classes),
        crop=config.crop,
        dropout=config.recipe.dropout,
        pool_ceil=config.pool_ceil,
    )
