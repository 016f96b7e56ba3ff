"""Table 1 as layers, and what follows from a layer by arithmetic: sizes, parameters, multiply-adds, fields.

Nothing here needs torch. Sections are those of arXiv 1409.1556v6.
"""

import re
from collections.abc import Sequence
from math import prod

from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.blocks import SKIPS, check_closed, shortcut_over
from vgg_sweep.nets.layers import STRIDE, Layer

STAGES = 5
FC_CHANNELS = 4096

LEAST_LRN_SPREAD = 0.01
"""Of what LRN multiplies activations by, deviation over mean: below it LRN is next to a constant."""

CONV = re.compile(r"conv([1-9]\d*)-([1-9]\d*)(/2)?")


def parse_columns(columns: Sequence[str], *, width: float, classes: int, crop: int) -> list[Layer]:
    """The layers of a column of Table 1, with the three FC layers that all its nets share.

    A column that ends in `avgpool`, as He et al.'s for CIFAR do, has one FC layer behind that. `width` multiplies the
    channels of every hidden layer (rounded, at least 1). `crop` is the side of the input in pixels for which the first
    FC layer sees the whole image. Without `classes` (0) it is a trunk, which has no FC layers. Raises `ConfigError` for
    an unknown word, a `skip` that closes no block, a crop that the poolings do not divide, or a column that has neither
    five of them nor `avgpool`.
    """
    layers = _feature_layers(columns, width)
    if layers and layers[-1].kind == "avgpool":
        last = layers[-1]
        whole_map = Layer("avgpool", last.name, last.word, _map_side(layers, crop), last.in_channels, last.out_channels)
        return [*layers[:-1], whole_map, Layer("fc", "fc", f"FC-{classes}", 1, last.out_channels, classes)]
    num_pools = sum(layer.kind == "maxpool" for layer in layers)
    if num_pools != STAGES:
        raise ConfigError(
            f"the column has {num_pools} maxpool; every net of Table 1 has {STAGES}, one a stage (a column that ends "
            "in avgpool may have any number)."
        )
    hidden = scaled(FC_CHANNELS, width)
    return layers + (classes > 0) * [
        Layer("fc", "fc6", f"FC-{FC_CHANNELS}", _map_side(layers, crop), layers[-1].out_channels, hidden),
        Layer("fc", "fc7", f"FC-{FC_CHANNELS}", 1, hidden, hidden),
        Layer("fc", "fc8", f"FC-{classes}", 1, hidden, classes),
    ]


def _feature_layers(columns: Sequence[str], width: float) -> list[Layer]:
    layers: list[Layer] = []
    stage, number, block, channels = 1, 0, 0, 3
    for word in columns:
        if word == "maxpool":
            layers.append(Layer("maxpool", f"pool{stage}", word, STRIDE, channels, channels, STRIDE))
            stage, number, block = stage + 1, 0, 0
        elif word == "BN" and layers and layers[-1].kind == "conv":
            layers.append(Layer("bn", f"bn{stage}_{number}", word, 1, channels, channels))
        elif word in SKIPS:
            block += 1
            shortcut = shortcut_over(layers, word)
            layers.append(Layer("skip", f"skip{stage}_{block}", word, 1, channels, channels, shortcut=shortcut))
        elif word == "LRN":
            layers.append(Layer("lrn", f"norm{stage}", word, 1, channels, channels))
        elif word == "avgpool" and layers and len(layers) == len(columns) - 1:
            layers.append(Layer("avgpool", "avgpool", word, 1, channels, channels))
        elif (conv := CONV.fullmatch(word)) and int(conv[1]) % 2:
            stride = STRIDE if conv[3] else 1
            if stride > 1 and number:
                stage, number, block = stage + 1, 0, 0
            number += 1
            out_channels = scaled(int(conv[2]), width)
            layers.append(Layer("conv", f"conv{stage}_{number}", word, int(conv[1]), channels, out_channels, stride))
            channels = out_channels
        else:
            raise ConfigError(
                f"'{word}' is not a layer of Table 1; use maxpool, LRN or conv<odd side>-<channels>, such as conv3-64, "
                "with /2 behind it for stride 2; or BN right after a conv, skip or skip-1x1 behind two of them, and "
                "avgpool at the end."
            )
    check_closed(layers)
    return layers


def scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _map_side(layers: Sequence[Layer], crop: int) -> int:
    """Side of the last feature map on a crop."""
    reduction = prod(layer.stride for layer in layers)
    side, rest = divmod(crop, reduction)
    if side < 1 or rest:
        nearest = reduction * max(1, round(crop / reduction))
        raise ConfigError(
            f"crop={crop} is not a multiple of {reduction}, as a column needs that halves the image "
            f"{reduction.bit_length() - 1} times; the nearest is crop={nearest}."
        )
    return side


def num_params(layer: Layer) -> int:
    """Weights and biases, or the scale and shift of a batch normalisation; of a `skip` those of its 1x1 convolution."""
    numbers_a_channel = {"bn": 2, "conv": 1, "fc": 1}.get(layer.kind, 0)
    if layer.shortcut is not None and layer.shortcut.projects:
        numbers_a_channel = 2 if layer.shortcut.normalised else 1
    return layer.num_weights + numbers_a_channel * layer.out_channels


def output_side(layer: Layer, input_side: int, *, pool_ceil: bool) -> int:
    """Height or width of the output for an input's height or width, in positions.

    `pool_ceil` rounds a pooled size up. Raises `ConfigError` if the layer sees more than there is, which happens to the
    first FC layer on images smaller than the crop.
    """
    if layer.kind == "maxpool":
        side = (input_side + pool_ceil) // STRIDE
    elif layer.kind == "avgpool":
        side = min(input_side, 1)
    else:
        side = (input_side + 2 * layer.padding - layer.kernel) // layer.stride + 1
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

    Counted: one for each weight of a conv or FC layer at each output position, also where it meets padding, and of the
    1x1 convolution of a `skip-1x1`. Not counted: biases, ReLU, LRN, batch normalisation, pooling, sums, dropout,
    soft-max.
    """
    return height * width * layer.num_weights


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
