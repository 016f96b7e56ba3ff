"""One layer of a net, as Table 1 has them, and the shortcut that a `skip` adds. Nothing here needs torch."""

from dataclasses import dataclass
from typing import Literal

STRIDE = 2
"""Of the max-pools, and of a convolution with /2; every other layer has stride 1."""


@dataclass(frozen=True)
class Shortcut:
    """What a `skip` adds to a block's output: the block's input, in its size and number of channels (He et al. 2015).

    Where the block has stride 2, every second position is taken; where it has more channels, the new ones are zeros
    (option A), unless a 1x1 convolution makes them (option B).
    """

    over: int
    """Layers between the block's input and the sum."""
    in_channels: int
    stride: int
    projects: bool
    """By a 1x1 convolution."""
    normalised: bool
    """Whether that has a batch normalisation, as the block has; it has a bias where not."""


@dataclass(frozen=True)
class Layer:
    """One layer of a net.

    A ReLU follows every conv and FC layer but the last, behind a conv's batch normalisation if it has one and behind
    the sum of a `skip` that closes its block, and is not a layer of its own.
    """

    kind: Literal["conv", "bn", "skip", "lrn", "maxpool", "avgpool", "fc"]
    name: str
    """As in the released models: conv1_1, norm1, pool1, fc6; bn1_1 for the batch normalisation of conv1_1, skip3_2 for
    the second block of stage 3.
    """
    word: str
    """As in Table 1: conv3-64, LRN, maxpool, FC-4096; or BN, skip, skip-1x1, avgpool, conv3-32/2, which no net of the
    paper has. It does not change with the width.
    """
    kernel: int
    """Side of what one output position sees of the layer's input, in positions; fc6 sees all of it on a crop."""
    in_channels: int
    out_channels: int
    stride: int = 1
    shortcut: Shortcut | None = None
    """Of a `skip`."""

    @property
    def has_weights(self) -> bool:
        """Whether it counts for the depth of the net."""
        return self.kind in ("conv", "fc")

    @property
    def num_weights(self) -> int:
        """Of a conv or FC layer, and of the 1x1 convolution of a `skip`, without biases."""
        if self.shortcut is not None:
            return self.shortcut.projects * self.shortcut.in_channels * self.out_channels
        return self.has_weights * self.kernel**2 * self.in_channels * self.out_channels

    @property
    def padding(self) -> int:
        """Zeros on each side: a conv keeps the size (Sect. 2.1), an FC layer has none, even where it slides."""
        return self.kernel // 2 if self.kind == "conv" else 0
