"""Memory that a net's activations take, by arithmetic; nothing here needs torch."""

from collections.abc import Sequence

from vgg_sweep.nets.columns import output_sides
from vgg_sweep.nets.layers import Layer

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
    for place, layer in enumerate(layers):
        if layer.shortcut is not None:
            first = place - layer.shortcut.over
            for inside in range(first + 1, place + 1):
                alive[inside] += inputs[first]
    return max(alive)


def _output_bytes(layers: Sequence[Layer], image_px: int, pool_ceil: bool) -> list[int]:
    sides = output_sides(layers, image_px, pool_ceil=pool_ceil)
    return [activation_bytes(layer, side, side) for layer, side in zip(layers, sides, strict=True)]
