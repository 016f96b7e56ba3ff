"""Tables 1 and 2, the arithmetic of Sect. 2.3 and the memory of activations, from the columns alone; needs no torch.

Rows are dicts: pandas takes half a second to import.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from vgg_sweep.config.schema import Model
from vgg_sweep.nets.columns import macs, net_macs, num_params, output_sides, parse_columns, receptive_fields, scaled
from vgg_sweep.nets.layers import Layer

Values = dict[str, Any]
"""Of a row, by column."""


def describe(
    models: Sequence[Model], *, width: float, classes: int, crop: int, image_px: int, pool_ceil: bool
) -> list[Values]:
    """A row for each net, applied to one square image of side `image_px` (the crop, or more for dense evaluation).

    `params` counts weights and biases (Table 2); what `macs`, `activation_bytes` (in training) and
    `activation_bytes_testing` count is said at the functions of those names. `receptive_field_px` is of one position of
    the class score map; it exceeds the crop, and on a larger image neighbouring pixels fill what padding fills on a
    crop (Sect. 3.2).

    Raises `ConfigError` for a wrong column or crop, and for an image smaller than the crop.
    """
    rows = []
    for model in models:
        layers = parse_columns(model.columns, width=width, classes=classes, crop=crop)
        rows.append(
            {
                "config": model.name,
                "weight_layers": sum(layer.has_weights for layer in layers),
                "conv_layers": sum(layer.kind == "conv" for layer in layers),
                "params": sum(num_params(layer) for layer in layers),
                "macs": net_macs(layers, image_px, image_px, pool_ceil=pool_ceil),
                "activation_bytes": activation_bytes_training(layers, image_px, pool_ceil=pool_ceil),
                "activation_bytes_testing": activation_bytes_testing(layers, image_px, pool_ceil=pool_ceil),
                "receptive_field_px": receptive_fields(layers)[-1],
            }
        )
    return rows


def layers_table(
    model: Model, *, width: float, classes: int, crop: int, image_px: int, pool_ceil: bool
) -> list[Values]:
    """A row for each layer of one net, for one square image of side `image_px`.

    `output_side` is in positions, `activation_bytes` is the layer's output in float32, and `receptive_field_px` is what
    one position of it depends on. Raises as `describe` does.
    """
    layers = parse_columns(model.columns, width=width, classes=classes, crop=crop)
    sides = output_sides(layers, image_px, pool_ceil=pool_ceil)
    return [
        {
            "name": layer.name,
            "word": layer.word,
            "output_side": side,
            "output_channels": layer.out_channels,
            "params": num_params(layer),
            "macs": macs(layer, side, side),
            "activation_bytes": activation_bytes(layer, side, side),
            "receptive_field_px": field,
        }
        for layer, side, field in zip(layers, sides, receptive_fields(layers), strict=True)
    ]


def kernel_comparison(channels: int) -> list[Values]:
    """Sect. 2.3: stacks of 3x3 convolutions against one larger kernel with the same receptive field.

    All layers have `channels` inputs and outputs; `weights` leaves out the biases, as the paper does.
    """
    rows = []
    for kernels in ([3, 3], [5], [3, 3, 3], [7]):
        layers = [Layer("conv", "", f"conv{kernel}-{channels}", kernel, channels, channels) for kernel in kernels]
        rows.append(
            {
                "stack": ", ".join(layer.word for layer in layers),
                "receptive_field": receptive_fields(layers)[-1],
                "weights": sum(layer.num_weights for layer in layers),
                "weights_in_channels_squared": sum(kernel**2 for kernel in kernels),
            }
        )
    return rows


def paper_table1(models: Sequence[Model], *, classes: int, width: float = 1.0) -> list[Values]:
    """Table 1: a column for each net, its words from top to bottom, with equal stages at equal height. The channels are
    those of the nets at `width`: conv3-64 is conv3-4 at 1/16.
    """
    stages = zip_longest(*(_stages(model.columns) for model in models), fillvalue=[])
    rows = [row for stage in stages for row in _level(stage)]
    for head in ("FC-4096", "FC-4096"):
        rows.append(tuple("" if "avgpool" in model.columns else head for model in models))
    rows = [tuple(trained_word(word, width) for word in row) for row in rows]
    rows += [(word,) * len(models) for word in (f"FC-{classes}", "soft-max")]
    return [dict(zip((model.name for model in models), row, strict=True)) for row in rows]


def trained_word(word: str, width: float) -> str:
    """A word of Table 1 with the channels that a net of this width has."""
    return re.sub(r"^(conv\d+|FC)-(\d+)", lambda found: f"{found[1]}-{scaled(int(found[2]), width)}", word)


def _stages(words: Sequence[str]) -> list[list[str]]:
    """The words through each pooling."""
    stages: list[list[str]] = [[]]
    for word in words:
        stages[-1].append(word)
        if word in ("maxpool", "avgpool"):
            stages.append([])
    return stages[:-1]


def _level(stage: Sequence[list[str]]) -> list[tuple[str, ...]]:
    """The rows of one stage: shorter columns end in blanks, and the poolings of all come last."""
    return [*zip_longest(*(words[:-1] for words in stage), fillvalue=""), tuple("".join(words[-1:]) for words in stage)]


BYTES = 4
"""Of an activation, in float32."""


def activation_bytes(layer: Layer, height: int, width: int) -> int:
    """Bytes of a layer's output of height x width positions for one image, in float32."""
    return BYTES * height * width * layer.out_channels


def activation_bytes_training(layers: Sequence[Layer], image_px: int, *, pool_ceil: bool) -> int:
    """Bytes of activations that one square image keeps alive until the backward pass, in float32.

    Counted: the image and the output of every layer, once each, since the ReLUs work in place, but of what enters a sum
    the sum alone. Not counted: the indices of the poolings, dropout masks, gradients, and working memory.
    """
    outputs = _output_bytes(layers, image_px, pool_ceil)
    kept = [
        own
        for own, layer, below in zip(outputs, layers, [*layers[1:], None], strict=True)
        if below is None or below.kind != "skip" or _is_normalised_projection(below)
    ]
    return BYTES * image_px**2 * layers[0].in_channels + sum(kept)


def _is_normalised_projection(layer: Layer) -> bool:
    """Whether a `skip` keeps what its 1x1 convolution gives for the batch normalisation behind it, which is as large as
    the addend that it does not keep.
    """
    return layer.shortcut is not None and layer.shortcut.projects and layer.shortcut.normalised


def activation_bytes_testing(layers: Sequence[Layer], image_px: int, *, pool_ceil: bool) -> int:
    """Most bytes of activations alive at one time for one square image when nothing is kept, in float32.

    Counted: the input and the output of the one layer, and inside a block closed by a `skip` the block's input, where
    their sum is largest. Not counted: working memory.
    """
    outputs = _output_bytes(layers, image_px, pool_ceil)
    inputs = [BYTES * image_px**2 * layers[0].in_channels, *outputs[:-1]]
    alive = [sum(pair) for pair in zip(inputs, outputs, strict=True)]
    for index, layer in enumerate(layers):
        if layer.shortcut is not None:
            first = index - layer.shortcut.over
            for inside in range(first + 1, index + 1):
                alive[inside] += inputs[first]
    return max(alive)


def _output_bytes(layers: Sequence[Layer], image_px: int, pool_ceil: bool) -> list[int]:
    sides = output_sides(layers, image_px, pool_ceil=pool_ceil)
    return [activation_bytes(layer, side, side) for layer, side in zip(layers, sides, strict=True)]
