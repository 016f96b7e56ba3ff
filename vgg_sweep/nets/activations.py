"""The activations of any layer, for images of any size that the net can see.

Axes: N images, C channels, H W pixels, h w positions of the layer.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.columns import output_sides
from vgg_sweep.nets.skip import Skip, outputs, through
from vgg_sweep.nets.vgg import VGG


def activations(net: VGG, images_NCHW: Tensor, layer: str, *, before_relu: bool = False) -> Tensor:
    """The activations_NChw of `layer`, named as in the released models: conv5_3, pool5, fc7.

    They are those after the ReLU, which are what the next layer sees and how we read the "activations" of Appendix B;
    `before_relu` gives those before it. The FC layers slide over what is larger than the crop: fc7 has one position for
    a crop and more for a larger image (Sect. 3.2). What comes after `layer` is not computed. No gradient is kept.

    Raises `ConfigError` for a layer that the net has not, a ReLU that follows no such layer, or images too small.
    """
    modules = _up_to(net, layer, before_relu=before_relu)
    _check_sides(net, images_NCHW, layer)
    with torch.no_grad():
        return through(modules, images_NCHW)


def mean_activations(net: VGG, images_NCHW: Tensor, layers: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """The activations of several layers, each averaged over its positions, [N, C] in float32, from one forward pass:
    in the order of the net. Otherwise as `activations`.
    """
    modules = {layer: _up_to(net, layer, before_relu=False) for layer in layers}
    last = max(modules, key=lambda layer: len(modules[layer]))
    _check_sides(net, images_NCHW, last)
    with torch.no_grad():
        for number, activations_NChw in enumerate(outputs(modules[last], images_NCHW), start=1):
            for layer in (layer for layer, own in modules.items() if len(own) == number):
                yield layer, activations_NChw.float().mean((2, 3))


def check_layer(net: VGG, layer: str) -> None:
    """Raise `ConfigError` for a layer that the net does not have."""
    _up_to(net, layer, before_relu=False)


def _check_sides(net: VGG, images_NCHW: Tensor, layer: str) -> None:
    """Raise `ConfigError` if the images are too small for the layer."""
    names = [each.name for each in net.layers]
    pool_ceil = any(isinstance(module, nn.MaxPool2d) and module.ceil_mode for module in net.features)
    for side_px in images_NCHW.shape[2:]:
        output_sides(net.layers[: names.index(layer) + 1], side_px, pool_ceil=pool_ceil)


def _up_to(net: VGG, layer: str, *, before_relu: bool) -> list[nn.Module]:
    """The modules of `net` through `layer`, with its ReLU or without; to a conv belong its batch normalisation and
    the sum of a `skip` behind it.
    """
    named = [
        (net.layer_names.get(f"{part}.{index}"), module)
        for part in ("features", "classifier")
        for index, module in enumerate(getattr(net, part))
    ]
    names = [name for name, _ in named]
    if layer not in names:
        layers = [each.name for each in net.layers]
        raise ConfigError(f"the net has no layer {layer}; choose one of {', '.join(layers)}.")
    modules = [module for _, module in named]
    end = names.index(layer) + 1
    while end < len(modules) and isinstance(modules[end], nn.BatchNorm2d | Skip):
        end += 1
    has_relu = end < len(modules) and isinstance(modules[end], nn.ReLU)
    if before_relu and not has_relu:
        raise ConfigError(f"no ReLU follows {layer}; leave before_relu out.")
    return modules[: end + (has_relu and not before_relu)]
