"""Table 1 as layers, and what follows from a layer by arithmetic: sizes, parameters, multiply-adds, memory, fields.

Nothing here needs torch. Sections are those of arXiv 1409.1556v6.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vgg_sweep.errors import ConfigError

STAGES = 5
FC_CHANNELS = 4096
STRIDE = 2
"""Of the max-pools; every other layer has stride 1."""
BYTES = 4
"""Of an activation, in float32."""

LEAST_LRN_SPREAD = 0.01
"""Of what LRN multiplies activations by, deviation over mean: below it LRN is next to a constant."""

CONV = re.compile(r"conv([1-9]\d*)-([1-9]\d*)")


@dataclass(frozen=True)
class Layer:
    """One layer of a net.

    A ReLU follows every conv and FC layer but the last, behind a conv's batch normalisation if it has one, and is not a
    layer of its own.
    """

    kind: Literal["conv", "bn", "lrn", "maxpool", "fc"]
    name: str
    """As in the released models: conv1_1, norm1, pool1, fc6; bn1_1 for the batch normalisation of conv1_1."""
    word: str
    """As in Table 1: conv3-64, LRN, maxpool, FC-4096; or BN, which no net of the paper has. It does not change with the
    width.
    """
    kernel: int
    """Side of what one output position sees of the layer's input, in positions; fc6 sees all of it on a crop."""
    in_channels: int
    out_channels: int

    @property
    def has_weights(self) -> bool:
        return self.kind in ("conv", "fc")

    @property
    def stride(self) -> int:
        return STRIDE if self.kind == "maxpool" else 1

    @property
    def padding(self) -> int:
        """Zeros on each side: a conv keeps the size (Sect. 2.1), an FC layer has none, even where it slides."""
        return self.kernel // 2 if self.kind == "conv" else 0


def parse_columns(columns: Sequence[str], *, width: float, classes: int, crop: int) -> list[Layer]:
    """The layers of a column of Table 1, with the three FC layers that all nets share.

    `width` multiplies the channels of every hidden layer (rounded, at least 1). `crop` is the side of the input in
    pixels for which the first FC layer sees the whole image. Without `classes` (0) it is a trunk, which has no FC
    layers. Raises `ConfigError` for an unknown word, a crop that five poolings do not divide, or a column that has not
    five of them.
    """
    layers = _feature_layers(columns, width)
    num_pools = sum(layer.kind == "maxpool" for layer in layers)
    if num_pools != STAGES:
        raise ConfigError(f"The column has {num_pools} maxpool; every net of Table 1 has {STAGES}, one a stage.")
    hidden = _scaled(FC_CHANNELS, width)
    return layers + (classes > 0) * [
        Layer("fc", "fc6", f"FC-{FC_CHANNELS}", _map_side(crop), layers[-1].out_channels, hidden),
        Layer("fc", "fc7", f"FC-{FC_CHANNELS}", 1, hidden, hidden),
        Layer("fc", "fc8", f"FC-{classes}", 1, hidden, classes),
    ]


def _feature_layers(columns: Sequence[str], width: float) -> list[Layer]:
    layers: list[Layer] = []
    stage, number, channels = 1, 0, 3
    for word in columns:
        if word == "maxpool":
            layers.append(Layer("maxpool", f"pool{stage}", word, STRIDE, channels, channels))
            stage, number = stage + 1, 0
        elif word == "BN" and layers and layers[-1].kind == "conv":
            layers.append(Layer("bn", f"bn{stage}_{number}", word, 1, channels, channels))
        elif word == "LRN":
            layers.append(Layer("lrn", f"norm{stage}", word, 1, channels, channels))
        elif (conv := CONV.fullmatch(word)) and int(conv[1]) % 2:
            number += 1
            out_channels = _scaled(int(conv[2]), width)
            layers.append(Layer("conv", f"conv{stage}_{number}", word, int(conv[1]), channels, out_channels))
            channels = out_channels
        else:
            raise ConfigError(
                f"'{word}' is not a layer of Table 1; use maxpool, LRN or conv<odd side>-<channels>, such as conv3-64, "
                "or BN right after a conv, as nets of other people have it."
            )
    return layers


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _map_side(crop: int) -> int:
    """Side of the last feature map on a crop."""
    reduction: int = STRIDE**STAGES
    side, rest = divmod(crop, reduction)
    if side < 1 or rest:
        nearest = reduction * max(1, round(crop / reduction))
        raise ConfigError(
            f"crop={crop} is not a multiple of {reduction}, as the five poolings need; the nearest is crop={nearest}."
        )
    return side


def num_params(layer: Layer) -> int:
    """Weights and biases, or the scale and shift of a batch normalisation."""
    if layer.kind == "bn":
        return 2 * layer.out_channels
    if not layer.has_weights:
        return 0
    return layer.kernel**2 * layer.in_channels * layer.out_channels + layer.out_channels


def output_side(layer: Layer, input_side: int, *, pool_ceil: bool) -> int:
    """Height or width of the output for an input's height or width, in positions.

    `pool_ceil` rounds a pooled size up. Raises `ConfigError` if the layer sees more than there is, which happens to the
    first FC layer on images smaller than the crop.
    """
    if layer.kind == "maxpool":
        side = (input_side + pool_ceil) // STRIDE
    else:
        side = input_side + 2 * layer.padding - layer.kernel + 1
    if side < 1:
        raise ConfigError(
            f"The image is too small: {layer.name} needs {layer.kernel} positions a side and gets {input_side}; "
            "its smallest side must be at least the crop."
        )
    return side


def output_sides(layers: Sequence[Layer], image_px: int, *, pool_ceil: bool) -> list[int]:
    """Height or width of each layer's output for an image's height or width in pixels."""
    sides = [image_px]
    for layer in layers:
        sides.append(output_side(layer, sides[-1], pool_ceil=pool_ceil))
    return sides[1:]


def macs(layer: Layer, height: int, width: int) -> int:
    """Multiply-adds for an output of height x width positions.

    Counted: one for each weight of a conv or FC layer at each output position, also where it meets padding. Not
    counted: biases, ReLU, LRN, batch normalisation, pooling, dropout, soft-max.
    """
    if not layer.has_weights:
        return 0
    return height * width * layer.kernel**2 * layer.in_channels * layer.out_channels


def net_macs(layers: Sequence[Layer], height_px: int, width_px: int, *, pool_ceil: bool) -> int:
    """Multiply-adds of one forward pass over an image of height x width pixels; see `macs` for what is counted."""
    heights = output_sides(layers, height_px, pool_ceil=pool_ceil)
    widths = output_sides(layers, width_px, pool_ceil=pool_ceil)
    return sum(macs(layer, height, width) for layer, height, width in zip(layers, heights, widths, strict=True))


def receptive_fields(layers: Sequence[Layer]) -> list[int]:
    """Side, in pixels of the image, of what one output position of each layer depends on (padding included)."""
    fields = []
    field, step = 1, 1
    for layer in layers:
        field += (layer.kernel - 1) * step
        step *= layer.stride
        fields.append(field)
    return fields


def activation_bytes(layer: Layer, height: int, width: int) -> int:
    """Bytes of a layer's output of height x width positions for one image, in float32."""
    return BYTES * height * width * layer.out_channels


def activation_bytes_training(layers: Sequence[Layer], image_px: int, *, pool_ceil: bool) -> int:
    """Bytes of activations that one square image keeps alive until the backward pass, in float32.

    Counted: the image and the output of every layer, once each, since the ReLUs work in place. Not counted: the indices
    of the poolings, dropout masks, gradients, and working memory.
    """
    return BYTES * image_px**2 * layers[0].in_channels + sum(_output_bytes(layers, image_px, pool_ceil))


def activation_bytes_testing(layers: Sequence[Layer], image_px: int, *, pool_ceil: bool) -> int:
    """Most bytes of activations alive at one time for one square image when nothing is kept, in float32.

    Counted: the input and the output of the one layer where their sum is largest. Not counted: working memory.
    """
    outputs = _output_bytes(layers, image_px, pool_ceil)
    inputs = [BYTES * image_px**2 * layers[0].in_channels, *outputs[:-1]]
    return max(sum(pair) for pair in zip(inputs, outputs, strict=True))


def _output_bytes(layers: Sequence[Layer], image_px: int, pool_ceil: bool) -> list[int]:
    sides = output_sides(layers, image_px, pool_ceil=pool_ceil)
    return [activation_bytes(layer, side, side) for layer, side in zip(layers, sides, strict=True)]
