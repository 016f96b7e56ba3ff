"""Statsmodels and scipy are the oracles of what they have; the two-way analysis is worked out anew."""

import math
from fractions import Fraction
from math import comb

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import confint_proportions_2indep

from vgg_sweep.protocols.statistics import (
    EXACT_BELOW,
    MOST_SEEDS,
    discordant,
    holm,
    mcnemar,
    normal_p,
    over_images,
    over_seeds_and_images,
    over_seeds_on_other_images,
    power,
    seeds_needed,
    unpaired_difference,
)


def test_discordant_images() -> None:
    a, b = np.array([True, True, False, True]), np.array([True, False, True, False])
    assert discordant(a, b) == (2, 1)


def test_mcnemar_by_hand() -> None:
    """Of 6 images that tell two nets apart, 1 against 5: 2 (C(6,0) + C(6,1)) / 2^6 = 14 / 64."""
    assert mcnemar(1, 5) == mcnemar(5, 1) == 14 / 64
    assert mcnemar(0, 6) == 2 / 64
    assert mcnemar(3, 3) == 1
    assert mcnemar(0, 0) == 1


def test_mcnemar_is_exact_below_its_limit() -> None:
    for a in range(EXACT_BELOW):
        b = EXACT_BELOW - 1 - a
        exact = 2 * sum(Fraction(comb(a + b, i), 2 ** (a + b)) for i in range(min(a, b) + 1))
        assert mcnemar(a, b) == pytest.approx(float(min(Fraction(1), exact)))


def test_mcnemar_of_many_images_is_near_the_exact_value() -> None:
    """59 against 16: chi-square with continuity correction (59 - 16 - 1)^2 / 75 = 23.52, whose p is 1.2e-6."""
    assert mcnemar(59, 16) == pytest.approx(1.235e-6, rel=1e-3)
    exact = 2 * sum(comb(200, i) for i in range(81)) / 2**200
    assert mcnemar(120, 80) == pytest.approx(exact, rel=0.05)


def test_paired_difference_of_a_hand_worked_case() -> None:
    """Of 198 images 30 are wrong in a alone, 10 in b alone. Half is added to each cell: n = 200, still 20 apart."""
    difference_N = np.concatenate([np.ones(30), -np.ones(10), np.zeros(158)])
    found = over_images(difference_N[None])
    reach = 1.959964 * math.sqrt(30.5 + 10.5 - 20**2 / 200) / 200
    assert found.points == pytest.approx(100 * 20 / 198)
    assert (found.low, found.high) == pytest.approx((100 * (0.1 - reach), 100 * (0.1 + reach)))


def test_paired_difference_has_a_width_where_nothing_differs() -> None:
    found = over_images(np.zeros((1, 50)))
    assert found.points == 0 and found.low == pytest.approx(-found.high) and found.low < 0


def test_paired_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        draws_N = rng.choice([1.0, -1.0, 0.0], p=[0.12, 0.07, 0.81], size=300)
        found = over_images(draws_N[None])
        covered += found.low < 100 * (0.12 - 0.07) < found.high
    assert 0.935 < covered / 2000 < 0.97


def test_normal_p() -> None:
    assert normal_p(1.959964) == pytest.approx(0.05, abs=1e-6) == normal_p(-1.959964)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 5), (12, 12), (20, 4), (59, 16), (120, 80), (30, 31)])
def test_mcnemar_is_that_of_statsmodels(only_a: int, only_b: int) -> None:
    exact = only_a + only_b < EXACT_BELOW
    expected = mcnemar_of_statsmodels([[50, only_a], [only_b, 50]], exact=exact, correction=True).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(expected)


def test_unpaired_interval_is_that_of_statsmodels() -> None:
    expected = confint_proportions_2indep(56, 70, 48, 80, method="newcomb")
    assert unpaired_difference(80, 70, 60, 80)[1:] == pytest.approx([100 * bound for bound in expected])


def test_holm_is_that_of_statsmodels() -> None:
    ps = [0.04, 0.001, 0.5, 0.02, 0.012, 0.9]
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_holm_by_hand_passes_over_what_is_not_tested() -> None:
    """Of three: 3 x 0.01, 2 x 0.02, 1 x 0.03, but none below the one before it."""
    assert holm([0.03, math.nan, 0.01, 0.02]) == pytest.approx([0.04, math.nan, 0.03, 0.04], nan_ok=True)
    assert holm([]) == []


def differences(num_seeds: int, num_images: int, spread: float = 0.1) -> np.ndarray:
    """[R, N] of -1, 0 and 1, with effects of the seeds, by their `spread`, and of the images."""
    rng = np.random.default_rng(0)
    level_RN = spread * rng.normal(size=(num_seeds, 1)) + 0.6 * rng.normal(size=num_images)
    return np.sign(np.round(level_RN + 0.5 * rng.normal(size=(num_seeds, num_images))))


@pytest.mark.parametrize(("num_seeds", "spread"), [(2, 0.1), (3, 0.1), (5, 0.1), (4, 0.0)])
def test_seeds_and_images_are_a_two_way_analysis_of_variance(num_seeds: int, spread: float) -> None:
    """Obuchowski and Rockette's variance and Hillis's df, from the mean squares that statsmodels finds."""
    difference_RN = differences(num_seeds, 60, spread)
    half = math.sqrt(0.5)
    padded_RN = np.column_stack([difference_RN, np.full(num_seeds, half), np.full(num_seeds, -half)])
    frame = pd.DataFrame(
        [{"seed": r, "image": n, "d": value} for (r, n), value in np.ndenumerate(padded_RN)],
    )
    mean_squares = anova_lm(ols("d ~ C(seed) + C(image)", frame).fit())["mean_sq"]
    seed, image, inter = mean_squares["C(seed)"], mean_squares["C(image)"], mean_squares["Residual"]
    assert (seed < inter) == (spread == 0)
    seed = max(seed, inter)
    total = seed + max(image - inter, 0)
    deviation = math.sqrt(total / padded_RN.size)
    df = total**2 / (seed**2 / (num_seeds - 1))
    found = over_seeds_and_images(difference_RN)
    assert found.points == pytest.approx(100 * difference_RN.mean())
    assert (found.standard_error, found.df) == pytest.approx((100 * deviation, df))
    expected = scipy.stats.t.interval(0.95, df, 100 * padded_RN.mean(), 100 * deviation)
    assert (found.low, found.high) == pytest.approx(expected)
    t = (100 * padded_RN.mean() + 0.5) / (100 * deviation)
    assert found.p(-0.5) == pytest.approx(2 * scipy.stats.t.sf(abs(t), df))


def test_the_expected_variance_is_that_of_the_mean() -> None:
    """Normal effects of seeds (2), images (3) and both (5): the mean of 4 x 40 has 2^2/4 + 3^2/40 + 5^2/160, in units
    of a hundredth of a point squared; the two images more shrink it by (40/42)^2.
    """
    rng, found = np.random.default_rng(0), []
    for _ in range(1500):
        draws_RN = 2 * rng.normal(size=(4, 1)) + 3 * rng.normal(size=40) + 5 * rng.normal(size=(4, 40))
        found.append(over_seeds_and_images(draws_RN).standard_error ** 2 / 100**2)
    assert np.mean(found) == pytest.approx((40 / 42) ** 2 * (2**2 / 4 + 3**2 / 40 + 5**2 / 160), rel=0.04)


def test_an_image_that_all_seeds_get_wrong_is_one_image() -> None:
    """Seeds that agree on every image say no more than one of them, over images."""
    one_N = differences(1, 400)
    three = over_seeds_and_images(np.repeat(one_N, 3, axis=0))
    assert three.df > 1e9
    assert (three.low, three.high) == pytest.approx((over_images(one_N).low, over_images(one_N).high), rel=0.01)


def test_seeds_that_happen_to_agree_do_not_shorten_the_interval() -> None:
    """Three seeds of one mean which err on different images: MS_seed is 0, MS_image below MS_inter."""
    difference_RN = np.zeros((3, 300))
    for seed, row_N in enumerate(difference_RN):
        row_N[40 * seed : 40 * seed + 40] = 1
    seeds, images = over_seeds_and_images(difference_RN), over_images(difference_RN)
    padded_RN = np.column_stack([difference_RN, np.full(3, math.sqrt(0.5)), np.full(3, -math.sqrt(0.5))])
    of_images = 3 * ((padded_RN.mean(axis=0) - padded_RN.mean()) ** 2).sum()
    MS_inter = (((padded_RN - padded_RN.mean()) ** 2).sum() - of_images) / (2 * 301)
    assert of_images / 301 < MS_inter
    assert seeds.standard_error == pytest.approx(100 * math.sqrt(MS_inter / (3 * 302)))
    assert seeds.low < images.low and images.high < seeds.high
    assert seeds.p() > images.p()


def test_sides_with_seeds_of_their_own_are_added() -> None:
    """Without effects of images, each side has its own variance over seeds, and df is Welch's."""
    a_RN, b_RN = (np.repeat([[x] for x in levels], 1000, axis=1) for levels in ([0.3, 0.4, 0.2], [0.1, 0.5, 0.3, 0.3]))
    found = over_seeds_and_images(a_RN, -b_RN)
    expected = scipy.stats.ttest_ind([30, 40, 20], [10, 50, 30, 30], equal_var=False)
    assert found.points == pytest.approx(0)
    assert found.standard_error == pytest.approx(math.sqrt(np.var([30, 40, 20], ddof=1) / 3 + 800 / 3 / 4), rel=0.01)
    assert found.df == pytest.approx(expected.df, rel=0.01)
    other_images = over_seeds_on_other_images(a_RN, b_RN)
    assert (other_images.standard_error, other_images.df) == pytest.approx((found.standard_error, found.df), rel=0.01)


@pytest.mark.parametrize(("num_seeds", "points", "deviation"), [(3, 3.0, 1.0), (5, 1.0, 1.0), (10, 1.0, 2.0)])
def test_power_without_images_is_that_of_a_t_test(num_seeds: int, points: float, deviation: float) -> None:
    expected = TTestPower().power(points / deviation, num_seeds, 0.05, alternative="two-sided")
    assert power(points, num_seeds, deviation) == pytest.approx(expected, abs=0.005)


def test_seeds_needed() -> None:
    """Statsmodels: 9.94 seeds find a difference of one deviation 80 times in 100."""
    assert seeds_needed(1.0, 1.0) == math.ceil(TTestPower().solve_power(1.0, None, 0.05, 0.8)) == 10
    assert seeds_needed(1.0, 0.0, image_error=0.3) == 3
    assert seeds_needed(1.0, 1.0, image_error=0.4) is None  # 1 point is 2.5 standard errors, however many seeds
    assert seeds_needed(1.0, 100.0) is None and MOST_SEEDS == 100
