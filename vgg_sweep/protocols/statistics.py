"""Tests and intervals of a difference of errors, in percentage points. Axes: R seeds, N images.

What is compared is an array [R, N]: for each seed and image, whether a is wrong minus whether b is, or the mean of that
over several pairs of nets. Where each side has seeds of its own, it is two arrays, wrong of a and minus wrong of b,
whose means are added.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.protocols.metrics import Z95, wilson

ALPHA = 0.05
"""A difference with a smaller p is taken for real."""

MIN_SEEDS = 3
"""From this many seeds on a difference may be put down to the training: how far two lie apart says next to nothing of
how far others would."""

EXACT_BELOW = 25
"""McNemar's test counts out the binomial for fewer discordant images than this, and is approximated from there on."""

POWER = 0.8
"""How often a difference that is there should be found."""

MOST_SEEDS = 100
"""`seeds_needed` looks no further."""


@dataclass(frozen=True)
class Difference:
    """Error of a minus error of b, in points."""

    points: float
    middle: float
    """Of the interval: `points`, drawn a little towards zero."""
    standard_error: float
    df: float = math.inf
    """Degrees of freedom of t; infinite where it is normal."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.middle - self._t95 * self.standard_error

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.middle + self._t95 * self.standard_error

    @property
    def _t95(self) -> float:
        return Z95 if math.isinf(self.df) else _t_quantile(1 - ALPHA / 2, self.df)

    def p(self, null_points: float = 0.0) -> float:
        """Two-sided p of a true difference of `null_points`."""
        t = (self.middle - null_points) / self.standard_error
        if math.isinf(self.df):
            return normal_p(t)
        from scipy.special import stdtr

        return 2 * float(stdtr(self.df, -abs(t)))


def over_images(*parts_RN: NDArray[np.floating]) -> Difference:
    """The difference of these trained nets, on images that could have been others (normal, one variance over images).

    The interval is Wald's with half an image added to each cell (Agresti and Min 2005): it keeps a width where no image
    tells the two apart.
    """
    sum_N = sum((part_RN.mean(axis=0) for part_RN in _padded(parts_RN)), start=np.zeros(1))
    standard_error = 100 * math.sqrt(sum_N.var() / len(sum_N))
    return Difference(_points(parts_RN), 100 * float(sum_N.mean()), standard_error)


def over_seeds_and_images(*parts_RN: NDArray[np.floating]) -> Difference:
    """The difference that training again and other images would give; each part needs two seeds or more.

    Seeds and images are both drawn and crossed, as readers and cases are in a reader study. The variance of the mean of
    one part is that of the two-way analysis without replication, in which no effect's variance is below zero:
    (max(MS_seed, MS_inter) + max(MS_image - MS_inter, 0)) / (N R) (Obuchowski and Rockette 1995). Only its first term
    counts for the degrees of freedom of t (Hillis 2007). So seeds that happen to agree make the interval no shorter
    than that over images. Images are padded as in `over_images`.
    """
    padded = _padded(parts_RN)
    sum_N = sum((part_RN.mean(axis=0) for part_RN in padded), start=np.zeros(1))
    num_images = len(sum_N)
    seed_terms, of_images = [], float(sum_N.var(ddof=1))
    for part_RN in padded:
        num_seeds = len(part_RN)
        seed_R1, image_N = part_RN.mean(axis=1, keepdims=True), part_RN.mean(axis=0)
        MS_seed = num_images * float(seed_R1.var(ddof=1))
        residual_RN = part_RN - seed_R1 - image_N + part_RN.mean()
        MS_inter = float((residual_RN**2).sum()) / ((num_seeds - 1) * (num_images - 1))
        seed_terms.append((max(MS_seed, MS_inter) / num_seeds, num_seeds - 1))
        of_images -= MS_inter / num_seeds
    variance = sum(term for term, _ in seed_terms) + max(of_images, 0.0)
    spread = sum(term**2 / df for term, df in seed_terms)
    df = variance**2 / spread if spread else math.inf
    return Difference(_points(parts_RN), 100 * float(sum_N.mean()), 100 * math.sqrt(variance / num_images), df)


def over_seeds_on_other_images(a_RN: NDArray[np.floating], b_RN: NDArray[np.floating]) -> Difference:
    """As `over_seeds_and_images`, of two sweeps that were scored on different images (Welch)."""
    a, b = over_seeds_and_images(a_RN), over_seeds_and_images(b_RN)
    variances = [each.standard_error**2 for each in (a, b)]
    spread = sum(variance**2 / each.df for variance, each in zip(variances, (a, b), strict=True))
    df = sum(variances) ** 2 / spread if spread else math.inf
    return Difference(a.points - b.points, a.middle - b.middle, math.sqrt(sum(variances)), df)


def _points(parts_RN: Sequence[NDArray[np.floating]]) -> float:
    return 100 * sum(float(part_RN.mean()) for part_RN in parts_RN)


def _padded(parts_RN: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """With two images more, which together differ by ±1/√2 in every seed: to the squares over images they add 1, to the
    sum nothing, as half an image in each of the four cells of a paired table does."""
    half = math.sqrt(0.5) / len(parts_RN)
    return [np.hstack([part_RN, np.broadcast_to([half, -half], (len(part_RN), 2))]) for part_RN in parts_RN]


def unpaired_difference(
    error_a: float, num_images_a: int, error_b: float, num_images_b: int
) -> tuple[float, float, float]:
    """Error of a minus error of b in points, and its 95 % interval, for trained nets on different images, from the two
    Wilson intervals (Newcombe 1998).
    """
    (low_a, high_a), (low_b, high_b) = wilson(error_a, num_images_a), wilson(error_b, num_images_b)
    points = error_a - error_b
    low = points - math.hypot(error_a - low_a, high_b - error_b)
    high = points + math.hypot(high_a - error_a, error_b - low_b)
    return points, low, high


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


def normal_p(z: float) -> float:
    """Two-sided p of a standard normal `z`."""
    return math.erfc(abs(z) / math.sqrt(2))


def holm(ps: Sequence[float]) -> list[float]:
    """The p of several tests, adjusted so that one false finding among them all is as rare as `ALPHA` (Holm 1979).

    In the order given; NaN stands for what is not tested and stays.
    """
    adjusted, least = [math.nan] * len(ps), 0.0
    tested = sorted((p, index) for index, p in enumerate(ps) if not math.isnan(p))
    for rank, (p, index) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = least
    return adjusted


def power(points: float, num_seeds: int, seed_deviation: float, image_error: float = 0.0) -> float:
    """How often a true difference of `points` > 0 is found by `over_seeds_and_images` (noncentral t).

    `seed_deviation` is that of one seed's difference, `image_error` the standard error that is left with many seeds.
    """
    from scipy.special import nctdtr

    of_seeds = seed_deviation**2 / num_seeds
    variance = of_seeds + image_error**2
    df = (num_seeds - 1) * (variance / of_seeds) ** 2 if of_seeds else math.inf
    return 1 - float(nctdtr(df, points / math.sqrt(variance), _t_quantile(1 - ALPHA / 2, df)))


def seeds_needed(points: float, seed_deviation: float, image_error: float = 0.0) -> int | None:
    """The fewest seeds with which a difference of `points` is found with `POWER`; None beyond `MOST_SEEDS`, as where
    the images are too few for any number of seeds.
    """
    numbers = range(MIN_SEEDS, MOST_SEEDS + 1)
    index = bisect_left(numbers, POWER, key=lambda num: power(points, num, seed_deviation, image_error))
    return numbers[index] if index < len(numbers) else None


def _t_quantile(share: float, df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, share))
