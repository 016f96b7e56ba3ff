import math
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from vgg_sweep.protocols.metrics import (
    EXACT_BELOW,
    Misses,
    discordant,
    mcnemar,
    normal_p,
    paired_difference,
    ranks,
    top_k_misses,
    wilson,
)


def test_ranks_of_a_hand_worked_case() -> None:
    posteriors_NK = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    assert ranks(posteriors_NK, np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_errors_are_those_of_sorting_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    posteriors_NK, labels_N = rng.dirichlet(np.ones(12), 500), rng.integers(0, 12, 500)
    best_N5 = np.argsort(-posteriors_NK, axis=1)[:, :5]
    for k in (1, 5):
        misses = top_k_misses(ranks(posteriors_NK, labels_N), k, 12)
        assert misses is not None
        expected_N = ~(best_N5[:, :k] == labels_N[:, None]).any(axis=1)
        assert misses.unpack().tolist() == expected_N.tolist()
        assert misses.error == pytest.approx(100 * expected_N.mean())


def test_a_tie_counts_against_the_net_whatever_the_order_of_classes() -> None:
    constant_NK = np.full((4, 4), 0.25)
    assert (ranks(constant_NK, np.arange(4)) == 3).all()
    assert ranks(np.array([[0.4, 0.4, 0.2]]), np.array([0])) == ranks(np.array([[0.4, 0.4, 0.2]]), np.array([1])) == 1


def test_what_is_not_a_number_is_wrong() -> None:
    assert (ranks(np.full((3, 6), math.nan), np.array([0, 3, 5])) == 5).all()


def test_top_5_of_fewer_than_five_classes_means_nothing() -> None:
    ranks_N = np.array([0, 3])
    assert top_k_misses(ranks_N, 5, 4) is None
    assert top_k_misses(ranks_N, 5, 5) == Misses.pack(np.array([False, False]))


@pytest.mark.parametrize("num_images", [1, 7, 8, 9, 1000])
def test_packed_misses_come_back(num_images: int) -> None:
    wrong_N = np.random.default_rng(num_images).random(num_images) < 0.3
    misses = Misses.pack(wrong_N)
    assert (misses.unpack() == wrong_N).all()
    assert (misses.num_images, misses.count) == (num_images, wrong_N.sum())


@pytest.mark.parametrize(("errors", "n"), [(0, 10), (1, 10), (263, 1000), (50, 50)])
def test_wilson_s_bounds_solve_his_equation(errors: int, n: int) -> None:
    """The interval holds the shares p with (share - p)^2 <= z^2 p (1 - p) / n; at its ends the sides are equal."""
    for bound in wilson(100 * errors / n, n):
        p = bound / 100
        assert (errors / n - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / n, rel=1e-6)


def test_wilson_stays_within_0_and_100() -> None:
    assert wilson(0, 5)[0] == 0 < wilson(0, 5)[1] < 100
    assert wilson(100, 5)[1] == 100 > wilson(100, 5)[0] > 0


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
    points, low, high = paired_difference(difference_N)
    reach = 1.959964 * math.sqrt(30.5 + 10.5 - 20**2 / 200) / 200
    assert points == pytest.approx(100 * 20 / 198)
    assert (low, high) == pytest.approx((100 * (0.1 - reach), 100 * (0.1 + reach)))


def test_paired_difference_has_a_width_where_nothing_differs() -> None:
    points, low, high = paired_difference(np.zeros(50))
    assert points == 0 and low == -high < 0


def test_paired_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        draws_N = rng.choice([1.0, -1.0, 0.0], p=[0.12, 0.07, 0.81], size=300)
        _, low, high = paired_difference(draws_N)
        covered += low < 100 * (0.12 - 0.07) < high
    assert 0.935 < covered / 2000 < 0.97


def test_spread_over_seeds_widens_the_interval() -> None:
    difference_N = np.concatenate([np.ones(30), np.zeros(170)])
    _, low, high = paired_difference(difference_N)
    _, wider_low, wider_high = paired_difference(difference_N, seed_variance=4.0)
    assert (wider_high - wider_low) ** 2 == pytest.approx((high - low) ** 2 + (2 * 1.959964 * 2) ** 2, rel=1e-6)


def test_normal_p() -> None:
    assert normal_p(1.959964) == pytest.approx(0.05, abs=1e-6) == normal_p(-1.959964)
