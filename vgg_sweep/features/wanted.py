"""Which features a command asks for: layers, and the views that Appendix B takes of an image."""

from vgg_sweep.config.schema import Config
from vgg_sweep.config.transfer import Transfer
from vgg_sweep.errors import ConfigError
from vgg_sweep.features.store import COLOUR, RANDOM, Feature
from vgg_sweep.protocols.methods import METHODS, scaled_px
from vgg_sweep.protocols.passes import Pass

SCALES = {"single": (256,), "multi": (256, 384, 512), "five": (256, 384, 512, 640, 768)}
"""Q in pixels at crop 224. `multi` and `five` are Appendix B's."""


def scales_px(words: list[str], crop: int) -> tuple[int, ...]:
    """The Q in pixels of transfer.scales for a net of this crop: a rule's name alone, or numbers.

    Raises `ConfigError` for another word, or a Q smaller than the crop.
    """
    if len(words) == 1 and words[0] in SCALES:
        return tuple(scaled_px(Q, crop) for Q in SCALES[words[0]])
    if not words or not all(word.isdigit() for word in words):
        raise ConfigError(
            f"scales={','.join(words)} is neither {', '.join(SCALES)} nor a list of pixels such as 256,384."
        )
    numbers = tuple(sorted({int(word) for word in words}))
    if numbers[0] < crop:
        raise ConfigError(f"scales={','.join(words)}: Q={numbers[0]} px is smaller than the crop of {crop} px.")
    return numbers


def views(method: str, scales: tuple[int, ...]) -> list[Pass]:
    """Those of an image and of its mirror image; of the image alone for the centre crop, as it is mostly meant."""
    return [Pass(method, Q, flip) for Q in scales for flip in METHODS[method].flips]


def wanted_features(asked: Transfer, crop: int) -> list[Feature]:
    """The features of `asked.layers` under its method at its scales."""
    scales = scales_px(asked.scales, crop)
    return [Feature(layer, view) for layer in asked.layers for view in views(asked.method, scales)]


def single_scale(crop: int) -> tuple[int, ...]:
    return scales_px(["single"], crop)


def control_features(asked: Transfer, crop: int) -> list[Feature]:
    """Those of the same net with random weights, and the mean colour, dense at one Q."""
    dense = views("dense", single_scale(crop))
    return [*(Feature(asked.layers[0], view, RANDOM) for view in dense), Feature(COLOUR, dense[0])]


def aggregation_features(asked: Transfer, crop: int) -> list[Feature]:
    """Those that the table of aggregations compares: a centre crop, and dense at five Q."""
    all_views = [*views("centre-crop", single_scale(crop)), *views("dense", scales_px(["five"], crop))]
    return [Feature(asked.layers[0], view) for view in all_views]


def probed_features(config: Config, crop: int) -> list[Feature]:
    """All that a probe of `config.transfer` needs, each once."""
    asked = config.transfer
    features = wanted_features(asked, crop)
    features += control_features(asked, crop) if asked.controls else []
    features += aggregation_features(asked, crop) if asked.aggregations else []
    return list(dict.fromkeys(features))
