"""Which features a command asks for: layers, and the views that Appendix B takes of an image."""

from collections.abc import Sequence

from vgg_sweep.config.transfer import IMAGE, Transfer
from vgg_sweep.errors import ConfigError
from vgg_sweep.features.store import Feature
from vgg_sweep.protocols.methods import METHODS, scaled_px
from vgg_sweep.protocols.passes import Pass

SCALES = {"single": (256,), "multi": (256, 384, 512), "five": (256, 384, 512, 640, 768)}
"""Q in pixels at crop 224. `multi` and `five` are Appendix B's."""
FIVE = "five"


def scales_px(words: list[str], crop: int) -> tuple[int, ...]:
    """The Q in pixels of transfer.scales for a net of this crop: a rule's name alone, or numbers.

    Raises `ConfigError` for another word.
    """
    if len(words) == 1 and words[0] in SCALES:
        return tuple(scaled_px(Q, crop) for Q in SCALES[words[0]])
    if not words or not all(word.isdigit() for word in words):
        raise ConfigError(
            f"scales={','.join(words)} is neither {', '.join(SCALES)} nor a list of pixels such as 256,384."
        )
    return tuple(sorted({int(word) for word in words}))


def check_scales(asked: Transfer, crop: int) -> None:
    """Raise `ConfigError` for a Q at which the FC layers, or a centre crop, do not fit into the image."""
    least = min(scales_px(asked.scales, crop))
    if least < crop and (asked.method == "centre-crop" or any(layer.startswith("fc") for layer in asked.layers)):
        what = "a centre crop needs" if asked.method == "centre-crop" else "the FC layers need, and conv5_3 does not"
        raise ConfigError(
            f"scales={','.join(asked.scales)}: Q={least} px is smaller than the crop of {crop} px, which {what}."
        )


def views(method: str, scales: tuple[int, ...]) -> list[Pass]:
    """Those of an image and of its mirror image; of the image alone for the centre crop, as it is mostly meant."""
    return [Pass(method, Q, flip) for Q in scales for flip in METHODS[method].flips]


def wanted_features(asked: Transfer, crop: int, regions: Sequence[str] = (IMAGE,)) -> list[Feature]:
    """The features of `asked.layers` under its method at its scales. Raises `ConfigError` for scales that cannot be."""
    check_scales(asked, crop)
    in_turn = [(region, view) for region in regions for view in views(asked.method, scales_px(asked.scales, crop))]
    return [Feature(layer, view, region=region) for layer in asked.layers for region, view in in_turn]


def one_scale(asked: Transfer, crop: int) -> tuple[int, ...]:
    """The smallest of the scales, of which the ways to look at one Q are compared."""
    return (min(scales_px(asked.scales, crop)),)
