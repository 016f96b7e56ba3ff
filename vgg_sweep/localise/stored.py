"""Predicted boxes on disk, beside the posteriors of a run (docs/localisation.md has the format), and the true ones.

Axes: N images; P positions of an image, at each of which the net predicts; R all positions of all images of a pass; k
classes that are kept of an image, best first by the classification net.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.protocols.scored import Scored
from vgg_sweep.protocols.seals import check_whole


@dataclass(frozen=True)
class PassBoxes:
    """What a net predicts in one pass over the images, in pixels of the images."""

    positions_N: NDArray[np.int32]
    """How many positions each image has."""
    classes_Nk: NDArray[np.int32]
    boxes_Rk4: NDArray[np.float32]
    """[R, 1, 4] where all classes share a box (SCR)."""
    scores_Rk: NDArray[np.float32]
    """The classification net's posterior of each class at each position."""

    @cached_property
    def starts_N(self) -> NDArray[np.int64]:
        """The row of each image's first position."""
        return np.cumsum(self.positions_N, dtype=np.int64) - self.positions_N


@dataclass(frozen=True)
class Truth:
    """The truth that predictions are compared with."""

    boxes: Boxes
    """With the sizes that the images have."""
    blacklisted_N: NDArray[np.bool_]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `truth.npz` holds."""
        return {
            "sizes_N2": self.boxes.sizes_N2,
            "counts_N": self.boxes.counts_N.astype(np.int32),
            "boxes_B4": self.boxes.boxes_B4,
            "labels_B": self.boxes.labels_B,
            "blacklisted_N": self.blacklisted_N,
        }


class Predictions(Scored):
    """The predicted boxes of one run on disk."""

    besides = ("truth",)

    def passes(self, method: str, scales_px: Sequence[int]) -> list[PassBoxes] | None:
        """The passes of a method at some Q, with all the flips that are there; None unless each Q is."""
        found = [(each, Q, flip) for each, Q, flip in sorted(self.files) if each == method and Q in scales_px]
        if {Q for _, Q, _ in found} != set(scales_px):
            return None
        return [self.read(*each) for each in found]

    def read(self, method: str, Q: int, flip: bool) -> PassBoxes:
        """One pass. Raises `RunError` if its file is missing, damaged, or of other images."""
        entry = self.files[method, Q, flip]
        read = PassBoxes(*self._arrays(entry, "positions_N", "classes_Nk", "boxes_Rk4", "scores_Rk"))
        num_rows, num_kept = int(read.positions_N.sum()), read.classes_Nk.shape[1]
        shapes = (read.positions_N.shape[0], read.classes_Nk.shape[0], read.scores_Rk.shape)
        if shapes != (len(self.labels_N), len(self.labels_N), (num_rows, num_kept)) or read.boxes_Rk4.shape not in (
            (num_rows, num_kept, 4),
            (num_rows, 1, 4),
        ):
            raise self.unreadable(entry, "its arrays do not fit the images")
        return read

    @cached_property
    def truth(self) -> Truth:
        """Raises `RunError` as `read` does."""
        entry = self.manifest["truth"]
        names = ("boxes_B4", "labels_B", "counts_N", "sizes_N2", "blacklisted_N")
        boxes_B4, labels_B, counts_N, sizes_N2, blacklisted_N = self._arrays(entry, *names)
        if not len(self.labels_N) == len(counts_N) == len(sizes_N2) == len(blacklisted_N):
            raise self.unreadable(entry, "its arrays do not fit the images")
        return Truth(Boxes(boxes_B4, labels_B, np.cumsum(counts_N, dtype=np.int64), sizes_N2), blacklisted_N)

    def _arrays(self, entry: dict[str, Any], *names: str) -> list[NDArray[Any]]:
        path = self.folder / entry["file"]
        try:
            check_whole(path, entry["sha256"], self.again)
            with np.load(path) as stored:
                return [stored[name] for name in names]
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise self.unreadable(entry, error) from error
