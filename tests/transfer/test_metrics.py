"""Average precision against its definition written anew, and mean class recall by hand."""

import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.paths import ROOT
from vgg_sweep.images.sets.voc import VOC_CLASSES, read_list
from vgg_sweep.transfer.metrics import average_precision, influences, mean_average_precision, mean_class_recall

REAL = ROOT.parent / "shared" / "data" / "voc2007-labels.tar.xz"


def defined(decisions: list[float], labels: list[int], rule: str) -> float:
    """VOCevalcls.m and VOCap.m, line by line in exact fractions."""
    order = sorted(range(len(labels)), key=lambda index: -decisions[index])
    total = sum(label > 0 for label in labels)
    points, right, wrong = [], 0, 0
    for index in order:
        right += labels[index] > 0
        wrong += labels[index] < 0
        if right + wrong:
            points.append((Fraction(right, total), Fraction(right, right + wrong)))
    if rule == "AP11":
        best = [max((p for r, p in points if r >= Fraction(t, 10)), default=Fraction(0)) for t in range(11)]
        return 100 * float(sum(best) / 11)
    recalls = [Fraction(0), *(r for r, _ in points), Fraction(1)]
    precisions = [Fraction(0), *(p for _, p in points), Fraction(0)]
    for i in range(len(precisions) - 2, -1, -1):
        precisions[i] = max(precisions[i], precisions[i + 1])
    area = sum((recalls[i] - recalls[i - 1]) * precisions[i] for i in range(1, len(recalls)))
    return 100 * float(area)


@pytest.mark.parametrize("rule", ["AP11", "AP"])
def test_average_precision_is_the_devkits(rule: str) -> None:
    generator = np.random.default_rng(0)
    for num in (1, 2, 3, 10, 37, 200):
        for _ in range(20):
            labels_N = generator.choice([-1, -1, -1, 0, 1], num)
            labels_N[generator.integers(num)] = 1
            decisions_N = generator.normal(size=num) + labels_N * generator.uniform(0, 2)
            expected = defined(decisions_N.tolist(), labels_N.tolist(), rule)
            assert average_precision(decisions_N, labels_N, rule) == pytest.approx(expected, abs=1e-9)


def test_average_precision_by_hand() -> None:
    """Ranked: right, wrong, difficult, right. Precision 1 up to recall 1/2, then 2/3."""
    decisions_N, labels_N = np.array([4.0, 3, 2, 1]), np.array([1, -1, 0, 1])
    assert average_precision(decisions_N, labels_N, "AP") == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert average_precision(decisions_N, labels_N, "AP11") == pytest.approx(100 * (6 * 1 + 5 * 2 / 3) / 11)
    assert np.isnan(average_precision(decisions_N, -np.ones(4, int), "AP"))


@pytest.mark.parametrize("num_positives", [10, 20, 30, 70, 110])
def test_the_eleven_points_meet_recalls_that_floats_miss(num_positives: int) -> None:
    """Every positive is followed by a negative, so each tenth is met exactly, with a precision that then falls."""
    labels_N = np.tile([1, -1], num_positives)
    decisions_N = -np.arange(len(labels_N), dtype=float)
    expected = defined(decisions_N.tolist(), labels_N.tolist(), "AP11")
    assert average_precision(decisions_N, labels_N, "AP11") == pytest.approx(expected, abs=1e-12)
    recall_N = np.cumsum(labels_N > 0) / num_positives
    precision_N = np.cumsum(labels_N > 0) / np.arange(1, len(labels_N) + 1)
    naive = [max(precision_N[recall_N >= t]) for t in np.arange(0, 1.05, 0.1) if (recall_N >= t).any()]
    if num_positives == 10:
        assert 100 * sum(naive) / 11 != pytest.approx(expected, abs=1e-6), "no float falls into the trap here"


def test_the_area_is_that_of_scikit_learns_curve_with_an_envelope() -> None:
    precision_recall_curve = pytest.importorskip("sklearn.metrics").precision_recall_curve
    generator = np.random.default_rng(1)
    labels_N = np.where(generator.random(500) < 0.1, 1, -1)
    decisions_N = generator.normal(size=500) + labels_N
    precision, recall, _ = precision_recall_curve(labels_N, decisions_N)
    envelope = np.maximum.accumulate(precision[:-1])
    area = float(np.sum(-np.diff(recall) * envelope))
    assert average_precision(decisions_N, labels_N, "AP") == pytest.approx(100 * area, abs=1e-9)


@pytest.mark.skipif(not REAL.exists(), reason="VOC's label files are not here")
def test_average_precisions_on_the_real_test_labels(tmp_path: Path) -> None:
    """Of a detector that lifts all but the absent classes by 2.2 deviations, and of random scores. The known figures
    are of one draw that is not known; another moves them by half a point, and their differences by a tenth.
    """
    with tarfile.open(REAL) as tar:
        tar.extractall(tmp_path, filter="data")
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    labels_NK = np.stack([read_list(lists / f"{name}_test.txt")[1] for name in VOC_CLASSES], axis=1)
    as_positive, as_negative = (np.where(labels_NK == 0, sign, labels_NK) for sign in (1, -1))
    ways = [(labels_NK, "AP11"), (labels_NK, "AP"), (as_negative, "AP11"), (as_positive, "AP11")]
    generator = np.random.default_rng(0)
    found, random = [], []
    for _ in range(3):
        noise_NK = generator.normal(size=labels_NK.shape)
        found.append([mean_average_precision(noise_NK + 2.2 * (labels_NK >= 0), *way)[0] for way in ways])
        random.append([mean_average_precision(noise_NK, *way)[0] for way in ways[:2]])
    np.testing.assert_allclose(np.mean(found, axis=0), [62.2, 63.1, 59.0, 63.6], atol=0.6)
    eleven, area, negative, positive = np.mean(found, axis=0)
    np.testing.assert_allclose([area - eleven, eleven - negative, positive - eleven], [0.9, 3.2, 1.4], atol=0.3)
    np.testing.assert_allclose(np.mean(random, axis=0), [8.5, 7.6], atol=0.3)


@pytest.mark.parametrize("rule", ["AP11", "AP"])
def test_influences_are_what_leaving_an_image_out_does(rule: str) -> None:
    generator = np.random.default_rng(3)
    labels_NK = generator.choice([-1, -1, -1, 0, 1], (40, 3))
    decisions_NK = generator.normal(size=(40, 3)) + labels_NK
    whole, each_K = mean_average_precision(decisions_NK, labels_NK, rule)
    found_N = influences(decisions_NK, labels_NK, rule)
    assert found_N.mean() == pytest.approx(whole)
    kept = [np.delete(np.arange(40), n) for n in range(40)]
    without_NK = np.array([mean_average_precision(decisions_NK[k], labels_NK[k], rule)[1] for k in kept])
    without_NK = np.where(labels_NK == 0, np.nan, without_NK)  # a difficult image does nothing
    expected_NK = each_K + 39 * np.nan_to_num(np.nanmean(without_NK, axis=0) - without_NK)
    np.testing.assert_allclose(found_N, expected_NK.mean(axis=1))


def test_their_spread_is_that_of_sets_drawn_anew() -> None:
    """The standard error of the mean average precision, by influences and by the deviation over 300 sets of images."""
    generator = np.random.default_rng(4)
    values, errors = [], []
    for _ in range(300):
        labels_N1 = np.where(generator.random((400, 1)) < 0.2, 1, -1)
        decisions_N1 = generator.normal(size=(400, 1)) + labels_N1
        values.append(mean_average_precision(decisions_N1, labels_N1, "AP")[0])
        if len(errors) < 10:
            errors.append(influences(decisions_N1, labels_N1, "AP").std(ddof=1) / 20)
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.2)


def test_mean_class_recall_by_hand() -> None:
    """Class 0: 2 of 3, class 1: 0 of 1, class 2: 1 of 1."""
    value, each = mean_class_recall(np.array([0, 0, 2, 0, 2]), np.array([0, 0, 0, 1, 2]), 3)
    assert each == [pytest.approx(200 / 3), 0, 100]
    assert value == pytest.approx((200 / 3 + 0 + 100) / 3)
