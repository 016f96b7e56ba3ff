"""How often the report decides what is not so, and what is, on nets that are drawn (tests/bench/verdicts.py).

`python -m tests.bench.verdicts` makes the whole table, with more draws.
"""

import numpy as np
import pytest

from tests.bench.verdicts import DEPTH, LRN, SETTINGS, Nets, Setting, decided, families

DRAWS = {500: 600, 1000: 600, 5000: 200}
"""Enough for each number of images, and few enough for a slow machine."""


def test_the_nets_are_as_their_setting_says() -> None:
    """The difference of two nets, and its deviation over seeds, that of both."""
    setting = Setting(5000, 25, 2.0, points=3.0)
    difference_RN = Nets(setting, 0).differences(300)[0]
    assert 100 * difference_RN.mean() == pytest.approx(3, abs=0.6)
    assert 100 * difference_RN.mean(axis=1).std(ddof=1) == pytest.approx(np.sqrt(2) * 2.0, rel=0.15)


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_where_nothing_differs_few_claims_are_decided(setting: Setting, num_seeds: int) -> None:
    found = decided(DEPTH, setting, num_seeds, DRAWS[setting.num_images])
    assert found["supported"] + found["contradicted"] <= 7


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_one_or_two_seeds_decide_nothing(setting: Setting, num_seeds: int) -> None:
    found = decided(DEPTH, setting, num_seeds, 50)
    assert found["supported"] == found["contradicted"] == 0


def test_images_alone_would_have_decided_much() -> None:
    """What the test over images, on one seed, makes of nets that do not differ: the reason for all this."""
    assert decided(DEPTH, SETTINGS[0], 1, 300)["images alone"] > 15
    assert decided(DEPTH, SETTINGS[1], 1, 300)["images alone"] > 40


@pytest.mark.parametrize(
    ("setting", "num_seeds", "least"),
    [
        (Setting(500, 20, 2.0, points=10.0), 3, 75),
        (Setting(500, 20, 2.0, points=5.0), 5, 55),
        (Setting(5000, 25, 1.0, points=3.0), 3, 35),
        (Setting(5000, 25, 1.0, points=3.0), 5, 75),
    ],
    ids=str,
)
def test_what_differs_is_found(setting: Setting, num_seeds: int, least: float) -> None:
    found = decided(DEPTH, setting, num_seeds, DRAWS[setting.num_images])
    assert found["supported"] > least and found["contradicted"] < 1


def test_at_the_edge_of_its_margin_no_help_is_decided_rarely() -> None:
    """LRN helps by 0.5 points, the margin: neither side is so."""
    found = decided(LRN, Setting(5000, 25, 0.3, points=-0.5), 3, 200)
    assert found["supported"] + found["contradicted"] <= 7


def test_holm_keeps_a_report_of_ten_claims_from_a_false_verdict() -> None:
    plain, adjusted = families(SETTINGS[0], 5, 60)
    assert plain.reports > 20 and adjusted.reports <= 10
