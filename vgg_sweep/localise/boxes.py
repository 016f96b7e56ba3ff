"""The boxes of the images of a split, in memory. Axes: N images, B boxes of all of them, 4 as in `geometry`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boxes:
    """The boxes drawn around objects of each image: any number, each of a class of the set."""

    boxes_B4: NDArray[np.float32]
    """Image by image, in the order of the split."""
    labels_B: NDArray[np.int32]
    """The class of each box."""
    ends_N: NDArray[np.int64]
    """Where each image's boxes end."""
    sizes_N2: NDArray[np.int32]
    """Width and height of each image, as was said where the boxes come from; 0 where nothing was."""

    @staticmethod
    def of_lists(found: Sequence[Sequence[tuple[int, Sequence[float]]]], sizes: Sequence[Sequence[int]]) -> "Boxes":
        """From a list of (class, box) for each image."""
        flat = [each for boxes in found for each in boxes]
        return Boxes(
            np.array([box for _, box in flat], np.float32).reshape(-1, 4),
            np.array([label for label, _ in flat], np.int32),
            np.cumsum([len(boxes) for boxes in found], dtype=np.int64),
            np.array(sizes, np.int32).reshape(-1, 2),
        )

    def __len__(self) -> int:
        return len(self.ends_N)

    def of(self, index: int, label: int | None = None) -> NDArray[np.float32]:
        """[b, 4], the boxes of an image; of one class only where it is named."""
        number = range(len(self))[index]
        rows = slice(int(self.ends_N[number - 1]) if number else 0, int(self.ends_N[number]))
        boxes_b4 = self.boxes_B4[rows]
        return boxes_b4 if label is None else boxes_b4[self.labels_B[rows] == label]

    def has(self, labels_N: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether each image has a box of its own class [N]."""
        images_B = np.repeat(np.arange(len(self)), self.counts_N)
        return np.bincount(images_B[self.labels_B == np.asarray(labels_N)[images_B]], minlength=len(self)) > 0

    @property
    def counts_N(self) -> NDArray[np.int64]:
        """How many boxes each image has."""
        return np.diff(self.ends_N, prepend=0)

    def chosen(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Boxes":
        """Those of some images, in their order."""
        numbers, counts_N = np.arange(len(self))[rows], self.counts_N
        kept = [np.arange(self.ends_N[n] - counts_N[n], self.ends_N[n]) for n in numbers]
        rows_B = np.concatenate([np.empty(0, np.int64), *kept])
        ends_N = np.cumsum(counts_N[numbers], dtype=np.int64)
        return Boxes(self.boxes_B4[rows_B], self.labels_B[rows_B], ends_N, self.sizes_N2[numbers])
