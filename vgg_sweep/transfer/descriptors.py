"""Features on disk become descriptors (Appendix B): the mean of an image's and its mirror image's, over the scales
averaged, maximised or stacked, nets stacked, and all L2-normalised. `ways` are those that a command probes.

Axes: N images, C channels of a layer, D dimensions of a descriptor.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.transfer import IMAGE, Transfer
from vgg_sweep.features.store import COLOUR, FIVE, OWN, RANDOM, Feature, FeatureFolder, check_scales, scales_px
from vgg_sweep.protocols.passes import passes_of


@dataclass(frozen=True)
class Descriptor:
    """How an image is described."""

    layer: str
    scales: tuple[int, ...]
    """Q in pixels."""
    method: str = "dense"
    pool: str = "mean"
    weights: str = OWN
    normalise: str = "once"
    regions: tuple[str, ...] = (IMAGE,)
    """What is seen of it, one behind the other."""

    @property
    def features(self) -> list[Feature]:
        """The files that it is made of."""
        if self.layer == COLOUR:  # the same for the mirror image
            return [Feature(COLOUR, passes_of(self.method, self.scales)[0])]
        in_turn = [(region, view) for region in self.regions for view in passes_of(self.method, self.scales)]
        return [Feature(self.layer, view, self.weights, region) for region, view in in_turn]

    @property
    def key(self) -> dict[str, Any]:
        """All that decides it; the regions only if they are unusual."""
        said = asdict(self)
        return {name: value for name, value in said.items() if (name, value) != ("regions", (IMAGE,))}


def _mean(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(parts, axis=0, dtype=np.float32))


_POOLS: dict[str, Callable[[list[NDArray[np.float32]]], NDArray[np.float32]]] = {
    "mean": _mean,
    "max": lambda parts: np.asarray(np.max(parts, axis=0)),
    "stack": lambda parts: np.concatenate(parts, axis=1),
}


def descriptors(folders: Sequence[FeatureFolder], how: Descriptor, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """The descriptors [N, D] of some rows, by each net in `folders`, one behind the other. Raises `RunError` for
    features that are not there whole.
    """
    pooled = []
    for folder in folders:
        for _, of_region in groupby(how.features, key=lambda feature: feature.region):
            by_Q = groupby(of_region, key=lambda feature: feature.view.Q)
            parts = [_mean([folder.read(feature)[rows] for feature in halves]) for _, halves in by_Q]
            if how.normalise == "blocks":
                parts = [normalised(part) for part in parts]
            pooled.append(_POOLS[how.pool](parts))
    together_ND = pooled[0] if len(pooled) == 1 else np.concatenate(pooled, axis=1)
    return together_ND if how.layer == COLOUR else normalised(together_ND)


def normalised(rows_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row by its L2 norm; a row of zeros stays."""
    norms_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return np.asarray(rows_ND / np.where(norms_N1 > 0, norms_N1, 1), np.float32)


def ways(asked: Transfer, crop: int, regions: Sequence[str], *, of_stack: bool = False) -> list[Descriptor]:
    """All that are probed of a net, or of a stack of nets, by `asked`, which is resolved.

    For each layer, the scales, the pooling and the method asked for: of the first region, and of all stacked. Its
    `aggregations` are a centre crop and one Q; all Q averaged, maximised and stacked; five Q averaged. Its `controls`
    are the net itself at one Q, the same with random weights, and the mean colour. Raises `ConfigError` for scales that
    cannot be.
    """
    check_scales(asked, crop)
    scales = scales_px(asked.scales, crop)
    one = (min(scales),)  # of which the ways to look at one Q are compared
    pool = asked.pool if len(scales) > 1 else "mean"
    seen = [tuple(regions[:num]) for num in range(1, len(regions) + 1)]
    found = [
        Descriptor(layer, scales, asked.method, pool, normalise=asked.normalise, regions=each)
        for layer in asked.layers
        for each in seen
    ]
    for layer in asked.layers if asked.aggregations else ():
        found += [Descriptor(layer, one, "centre-crop")] if one[0] >= crop else []
        found.append(Descriptor(layer, one))
        pools = ("mean", "max", "stack") if len(scales) > 1 else ()
        found += [Descriptor(layer, scales, pool=each, normalise=asked.normalise) for each in pools]
        if asked.scales == ["multi"]:
            found.append(Descriptor(layer, scales_px([FIVE], crop), normalise=asked.normalise))
    if asked.controls and not of_stack:
        found += [Descriptor(layer, one, weights=weights) for weights in (OWN, RANDOM) for layer in asked.layers]
        found.append(Descriptor(COLOUR, one))
    return list(dict.fromkeys(found))
