"""Errors and their intervals, in percent. Axes: N images, K classes."""

import base64
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True)
class Misses:
    """Which of N images are wrong, packed: one bit an image."""

    num_images: int
    count: int
    bits: str = field(repr=False)
    """Base64 of the packed bits, as it is stored."""

    @classmethod
    def pack(cls, wrong_N: NDArray[np.bool_]) -> "Misses":
        bits = base64.b64encode(np.packbits(wrong_N).tobytes()).decode()
        return cls(len(wrong_N), int(wrong_N.sum()), bits)

    def unpack(self) -> NDArray[np.bool_]:
        """bool [N], in the order of the images."""
        packed = np.frombuffer(base64.b64decode(self.bits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.num_images).astype(bool)

    @property
    def error(self) -> float:
        """Share of wrong images in percent."""
        return 100 * self.count / self.num_images


def truth_ranks(posteriors_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many other classes each image's true class does not beat, int [N]: 0 is a top-1 hit, below 5 a top-5 hit.

    A tie counts against the net, whatever the order of the classes, so a constant output is always wrong; so is one
    that is not a number.
    """
    truth_N1 = posteriors_NK[np.arange(len(labels_N)), labels_N][:, None]
    beaten_N = np.count_nonzero(posteriors_NK < truth_N1, axis=1)
    return np.asarray(posteriors_NK.shape[1] - 1 - beaten_N, dtype=np.int64)


def top_k_misses(ranks_N: NDArray[np.int64], k: int, num_classes: int) -> Misses | None:
    """The images whose true class is not among the best `k`; None with fewer than `k` classes."""
    return Misses.pack(ranks_N >= k) if num_classes >= k else None


def mean_class_recall(misses: Misses, labels_N: NDArray[np.integer]) -> float:
    """Share of right images of each class, in percent, and of these the mean over the classes that have images: every
    class counts the same, however many images it has.
    """
    counts_K = np.bincount(labels_N)
    wrong_K = np.bincount(labels_N, weights=misses.unpack())
    there_K = counts_K > 0
    return float(100 * (1 - wrong_K[there_K] / counts_K[there_K]).mean())


def wilson(error: float, num_images: int) -> tuple[float, float]:
    """95 % interval of an error in percent measured on `num_images` images (Wilson 1927: never leaves 0 to 100)."""
    share = error / 100
    spread = Z95**2 / num_images
    middle = share + spread / 2
    reach = Z95 * math.sqrt(share * (1 - share) / num_images + spread / (4 * num_images))
    low, high = (100 * (middle + sign * reach) / (1 + spread) for sign in (-1, 1))
    return max(0.0, low), min(100.0, high)
