"""Errors, their intervals, and paired comparisons. Errors are in percent. Axes: N images, K classes."""

import base64
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""

EXACT_BELOW = 25
"""McNemar's test counts out the binomial for fewer discordant images than this, and is approximated from there on."""


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


def ranks(posteriors_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> NDArray[np.int64]:
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


def wilson(error: float, num_images: int) -> tuple[float, float]:
    """95 % interval of an error in percent measured on `num_images` images (Wilson 1927: never leaves 0 to 100)."""
    share = error / 100
    spread = Z95**2 / num_images
    middle = share + spread / 2
    reach = Z95 * math.sqrt(share * (1 - share) / num_images + spread / (4 * num_images))
    low, high = (100 * (middle + sign * reach) / (1 + spread) for sign in (-1, 1))
    return max(0.0, low), min(100.0, high)


def discordant(wrong_a_N: NDArray[np.bool_], wrong_b_N: NDArray[np.bool_]) -> tuple[int, int]:
    """Images that only a gets wrong, and that only b gets wrong."""
    return int((wrong_a_N & ~wrong_b_N).sum()), int((wrong_b_N & ~wrong_a_N).sum())


def mcnemar(only_a: int, only_b: int) -> float:
    """p of two nets being equally good, from the images that only one of them gets wrong (McNemar 1947).

    Exact (two-sided binomial) below `EXACT_BELOW` such images, chi-square with continuity correction from there on.
    """
    n = only_a + only_b
    if n < EXACT_BELOW:
        tail = sum(math.comb(n, wins) for wins in range(min(only_a, only_b) + 1))
        return min(1.0, 2 * tail / int(2**n))
    chi_square = float(max(0, abs(only_a - only_b) - 1) ** 2 / n)
    return math.erfc(math.sqrt(chi_square / 2))


def paired_difference(difference_N: NDArray[np.floating], seed_variance: float = 0.0) -> tuple[float, float, float]:
    """Error of a minus error of b in points, and its 95 % interval, on the same images.

    `difference_N` is, for each image, whether a is wrong minus whether b is, or the mean of that over seeds or pairs of
    nets. The interval is Wald's with half an image added to each cell (Agresti and Min 2005): it keeps a width where no
    image tells the two apart. `seed_variance` is the variance, in points squared, that comes from drawing seeds; that
    from drawing images is estimated here.
    """
    n = len(difference_N) + 2
    total = float(difference_N.sum())
    squares = float((difference_N**2).sum()) + 1
    middle = 100 * total / n
    variance = 100**2 * (squares - total**2 / n) / n**2
    reach = Z95 * math.sqrt(variance + seed_variance)
    return 100 * total / len(difference_N), middle - reach, middle + reach


def unpaired_difference(
    error_a: float, num_images_a: int, error_b: float, num_images_b: int, seed_variance: float = 0.0
) -> tuple[float, float, float]:
    """Error of a minus error of b in points, and its 95 % interval, on different images (Newcombe 1998: from the two
    Wilson intervals). `seed_variance` is as in `paired_difference`.
    """
    (low_a, high_a), (low_b, high_b) = wilson(error_a, num_images_a), wilson(error_b, num_images_b)
    points, spread = error_a - error_b, Z95**2 * seed_variance
    low = points - math.sqrt((error_a - low_a) ** 2 + (high_b - error_b) ** 2 + spread)
    high = points + math.sqrt((high_a - error_a) ** 2 + (error_b - low_b) ** 2 + spread)
    return points, low, high


def normal_p(z: float) -> float:
    """Two-sided p of a standard normal `z`."""
    return math.erfc(abs(z) / math.sqrt(2))
