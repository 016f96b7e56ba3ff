"""Which descriptors a command probes, in the order of its tables."""

from collections.abc import Sequence

from vgg_sweep.config.transfer import Transfer
from vgg_sweep.features.store import COLOUR, RANDOM
from vgg_sweep.features.wanted import FIVE, check_scales, one_scale, scales_px
from vgg_sweep.transfer.descriptors import Descriptor


def ways(asked: Transfer, crop: int, regions: Sequence[str], *, of_stack: bool = False) -> list[Descriptor]:
    """All that are probed of a net, or of a stack of nets. Raises `ConfigError` for scales that cannot be."""
    check_scales(asked, crop)
    found = as_asked(asked, crop, regions)
    found += aggregated(asked, crop) if asked.aggregations else []
    found += controls(asked, crop) if asked.controls and not of_stack else []
    return list(dict.fromkeys(found))


def as_asked(asked: Transfer, crop: int, regions: Sequence[str]) -> list[Descriptor]:
    """For each layer, the scales, the pooling and the method of `asked`, which is resolved: of the first region, and of
    all stacked.
    """
    scales = scales_px(asked.scales, crop)
    pool = asked.pool if len(scales) > 1 else "mean"
    seen = [tuple(regions[:num]) for num in range(1, len(regions) + 1)]
    return [
        Descriptor(layer, scales, asked.method, pool, normalise=asked.normalise, regions=each)
        for layer in asked.layers for each in seen
    ]  # fmt: skip


def aggregated(asked: Transfer, crop: int) -> list[Descriptor]:
    """For each layer: a centre crop and one Q; all Q averaged, maximised and stacked; five Q averaged."""
    one, scales = one_scale(asked, crop), scales_px(asked.scales, crop)
    found = []
    for layer in asked.layers:
        found += [Descriptor(layer, one, "centre-crop")] if one[0] >= crop else []
        found += [Descriptor(layer, one)]
        if len(scales) > 1:
            pools = ("mean", "max", "stack")
            found += [Descriptor(layer, scales, pool=pool, normalise=asked.normalise) for pool in pools]
        if asked.scales == ["multi"]:
            found += [Descriptor(layer, scales_px([FIVE], crop), normalise=asked.normalise)]
    return found


def controls(asked: Transfer, crop: int) -> list[Descriptor]:
    """The same net with random weights and the mean colour, at one Q, and beside them the net itself."""
    one = one_scale(asked, crop)
    own = [Descriptor(layer, one) for layer in asked.layers]
    random = [Descriptor(layer, one, weights=RANDOM) for layer in asked.layers]
    return [*own, *random, Descriptor(COLOUR, one)]
