"""The words `skip` and `skip-1x1`, which close a block of two convolutions with a shortcut (He et al. 2015, Sect. 3).

`skip` adds no parameter: where channels grow, the new ones are zeros (option A of He et al.); `skip-1x1` has a 1x1
convolution there (option B). Nothing here needs torch.
"""

from collections.abc import Sequence
from math import prod

from vgg_sweep.errors import ConfigError
from vgg_sweep.nets.layers import Layer, Shortcut

SKIPS = ("skip", "skip-1x1")
CONVS_OF_A_BLOCK = 2


def shortcut_over(layers: Sequence[Layer], word: str) -> Shortcut:
    """The shortcut of the block that `word` closes behind `layers`: two convolutions, each with its BN or not.

    Raises `ConfigError` for a block that is none, that begins at the image, that has a change of size anywhere but in
    the stride of its first convolution, or whose channels fall where zeros would have to fill them up.
    """
    start, convs = len(layers), 0
    while convs < CONVS_OF_A_BLOCK and start > 0:
        start -= 1
        if layers[start].kind == "conv":
            convs += 1
        elif layers[start].kind != "bn":
            break
    before, block = layers[:start], layers[start:]
    if convs < CONVS_OF_A_BLOCK:
        raise ConfigError(f"{word} {_why_not(layers)}; it closes a block of two convolutions of one stage.")
    if not before:
        raise ConfigError(
            f"{word} behind {block[0].name} stands at the start of the column, where its shortcut would be the image; "
            "put a convolution before the block."
        )
    second = next(layer for layer in reversed(block) if layer.kind == "conv")
    if second.stride > 1:
        raise ConfigError(
            f"{word} would go over a change of size at {second.name}; only the first convolution of a block may have "
            "stride 2."
        )
    given, made = before[-1].out_channels, block[-1].out_channels
    if made < given and word == "skip":
        raise ConfigError(
            f"{word} behind {second.name} would bring {given} channels to {made}, and zeros only make more; use "
            "skip-1x1."
        )
    stride = prod(layer.stride for layer in block)
    projects = word == "skip-1x1" and (given != made or stride > 1)
    return Shortcut(len(block), given, stride, projects, block[-1].kind == "bn")


def _why_not(layers: Sequence[Layer]) -> str:
    """What stands where a block's two convolutions should."""
    if not layers:
        return "stands at the start of the column"
    if layers[-1].kind not in ("conv", "bn"):
        return f"stands right behind {layers[-1].name}"
    index = max(index for index, layer in enumerate(layers) if layer.kind == "conv")
    if index == 0:
        return f"has only {layers[index].name} before it"
    above = layers[index - 1]
    if above.kind == "maxpool":
        return f"would go over {above.name}, where the size changes"
    return f"has only {layers[index].name} behind {above.name}"


def check_closed(layers: Sequence[Layer]) -> None:
    """Raise `ConfigError` if a stage with a `skip` has a convolution behind it that no `skip` closes."""
    open_conv, has_block = "", False
    for layer in layers:
        if layer.kind == "conv" and layer.stride == 1:
            open_conv = open_conv or layer.name
        elif layer.kind == "skip":
            open_conv, has_block = "", True
        elif layer.kind in ("maxpool", "avgpool") or layer.stride > 1:
            _refuse_open(open_conv if has_block else "")
            open_conv, has_block = layer.name if layer.kind == "conv" else "", False
    _refuse_open(open_conv if has_block else "")


def _refuse_open(conv: str) -> None:
    if conv:
        raise ConfigError(
            f"the block that begins with {conv} is not closed: in a stage with a skip, each two convolutions behind "
            "the first block end in one; add skip there, or take the convolutions out."
        )
