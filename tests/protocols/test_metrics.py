import math

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from vgg_sweep.protocols.metrics import (
    Misses,
    top_k_misses,
    truth_ranks,
    wilson,
)


def test_ranks_of_a_hand_worked_case() -> None:
    posteriors_NK = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    assert truth_ranks(posteriors_NK, np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_errors_are_those_of_sorting_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    posteriors_NK, labels_N = rng.dirichlet(np.ones(12), 500), rng.integers(0, 12, 500)
    best_N5 = np.argsort(-posteriors_NK, axis=1)[:, :5]
    for k in (1, 5):
        misses = top_k_misses(truth_ranks(posteriors_NK, labels_N), k, 12)
        assert misses is not None
        expected_N = ~(best_N5[:, :k] == labels_N[:, None]).any(axis=1)
        assert misses.unpack().tolist() == expected_N.tolist()
        assert misses.error == pytest.approx(100 * expected_N.mean())


def test_a_tie_counts_against_the_net_whatever_the_order_of_classes() -> None:
    constant_NK = np.full((4, 4), 0.25)
    assert (truth_ranks(constant_NK, np.arange(4)) == 3).all()
    assert (
        truth_ranks(np.array([[0.4, 0.4, 0.2]]), np.array([0]))
        == truth_ranks(np.array([[0.4, 0.4, 0.2]]), np.array([1]))
        == 1
    )


def test_what_is_not_a_number_is_wrong() -> None:
    assert (truth_ranks(np.full((3, 6), math.nan), np.array([0, 3, 5])) == 5).all()


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


@pytest.mark.parametrize(("errors", "n"), [(0, 10), (1, 10), (263, 1000), (50, 50)])
def test_wilson_is_that_of_statsmodels(errors: int, n: int) -> None:
    expected = proportion_confint(errors, n, method="wilson")
    assert wilson(100 * errors / n, n) == pytest.approx([100 * bound for bound in expected], abs=1e-9)
