"""What a protocol puts through the net: passes, each one view of every validation image (Sect. 3.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from vgg_sweep.protocols.means import BOTH, FLIPS

VIEWS = {"dense": 1, "multi-crop": 25, "ten-crop": 5, "centre-crop": 1}
"""Views of an image in one pass, each of which goes through the net."""

NPY_HEADER_BYTES = 128
BYTES_PER_POSTERIOR = 4
"""Of float32, in which posteriors are stored."""


@dataclass(frozen=True, order=True)
class Pass:
    """One view of every image: what one file of posteriors holds."""

    method: str
    Q: int
    flip: bool

    @property
    def name(self) -> str:
        return f"{self.method}-Q{self.Q}-flip{int(self.flip)}"


def passes_of(method: str, scales_px: Iterable[int]) -> list[Pass]:
    """The passes that `method`, or "multi-crop & dense", averages over the test scales."""
    methods = ("dense", "multi-crop") if method == BOTH else (method,)
    return [Pass(each, Q, flip) for Q in scales_px for each in methods for flip in FLIPS[each]]
