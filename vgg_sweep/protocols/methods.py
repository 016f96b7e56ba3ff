"""Methods of evaluation and the rules of Q, in the words of the paper (Sect. 3.2, 4.1, 4.2)."""

from dataclasses import dataclass

from vgg_sweep.errors import ConfigError

PAPER_CROP_PX = 224


@dataclass(frozen=True)
class Method:
    """A way to look at an image at one Q."""

    views: int
    """Views of an image in one pass, each of which goes through the net."""
    flips: tuple[bool, ...] = (False, True)
    """The halves that it averages."""


METHODS = {
    "dense": Method(views=1),
    "multi-crop": Method(views=25),
    "ten-crop": Method(views=5),
    "centre-crop": Method(views=1, flips=(False,)),  # what most published numbers mean by the name
}

BOTH = "multi-crop & dense"
"""The mean of the two methods (Sect. 4.3)."""


def averaged(method: str) -> tuple[str, ...]:
    """The methods that `method`, one of `METHODS` or `BOTH`, is the mean of."""
    return ("dense", "multi-crop") if method == BOTH else (method,)


def scaled_px(px_at_224: float, crop: int) -> int:
    """A length given for crop 224, at this crop, rounded to the nearest pixel (half up): 256 is 73 px at crop 64."""
    return int(px_at_224 * crop / PAPER_CROP_PX + 0.5)


def test_scales(S: list[int], rule: str, crop: int) -> list[int]:
    """The test scales Q in pixels for a net trained at S = [smallest, largest], given at crop 224 (Sect. 4.1, 4.2).

    `single`: S, or the middle of a jittered range. `multi`: {S-32, S, S+32}, or the ends and the middle of the range.
    """
    smallest, largest = S
    middle = (smallest + largest) / 2
    if rule == "single":
        at_224 = [middle]
    elif smallest == largest:
        at_224 = [middle - 32, middle, middle + 32]
    else:
        at_224 = [smallest, middle, largest]
    return [scaled_px(Q, crop) for Q in at_224]


def parse_pass(name: str, S: list[int], crop: int) -> tuple[str, list[int]]:
    """The method and the test scales Q in pixels of a protocol's pass such as `dense@multi` or `centre-crop@256`."""
    method, _, scale = name.partition("@")
    if method not in METHODS or not (scale in ("single", "multi") or scale.isdigit()):
        raise ConfigError(
            f"protocol.passes has '{name}'; write METHOD@Q with a method of {', '.join(METHODS)} and Q `single`, "
            "`multi` or pixels."
        )
    scales_px = [int(scale)] if scale.isdigit() else test_scales(S, scale, crop)
    if min(scales_px) < crop:
        raise ConfigError(
            f"protocol.passes has '{name}', but Q={min(scales_px)} px is smaller than the crop of {crop} px."
        )
    return method, scales_px
