"""What a protocol puts through the net: passes, each one view of every validation image (Sect. 3.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from vgg_sweep.protocols.methods import METHODS, averaged

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

    @property
    def views(self) -> int:
        """How many views of each image go through the net."""
        return METHODS[self.method].views


def passes_of(method: str, scales_px: Iterable[int]) -> list[Pass]:
    """The passes that `method`, or "multi-crop & dense", averages over the test scales."""
    return [Pass(each, Q, flip) for Q in scales_px for each in averaged(method) for flip in METHODS[each].flips]
