"""Merging against hand-worked answers and OverFeat's rule written anew, a box at a time."""

import itertools

import numpy as np
import pytest

from tests.localise.boxes import merged
from vgg_sweep.localise.geometry import iou
from vgg_sweep.localise.merging import MOST_BOXES, RULES, THRESHOLDS, match_scores, merged_at

LEFT, LEFT_TOO, RIGHT = [0.0, 0, 9, 9], [2.0, 0, 11, 9], [50.0, 0, 59, 9]
BOXES = np.array([LEFT, LEFT_TOO, RIGHT])
SCORES = np.array([0.3, 0.3, 0.5])


def test_match_scores() -> None:
    """The same box 0; one moved by a tenth of its side 0.1 + 1 - 90/110; far boxes beyond 1."""
    assert match_scores(np.array(LEFT), np.array(LEFT)) == 0
    assert match_scores(np.array(LEFT), np.array([1.0, 0, 10, 9])) == pytest.approx(0.1 + 1 - 90 / 110)
    assert match_scores(np.array(LEFT), np.array(RIGHT)) == pytest.approx(5 + 1)


def test_overfeat_accumulates_scores() -> None:
    """The two on the left become one that outweighs the best box; merged with it too, all become the mean of means."""
    assert merged(BOXES, SCORES, "overfeat", 1.0).tolist() == [1, 0, 10, 9]
    assert merged(BOXES, SCORES, "overfeat", 0.01).tolist() == RIGHT
    assert merged(BOXES, SCORES, "overfeat", 99).tolist() == [25.5, 0, 34.5, 9]


def test_the_other_rules() -> None:
    """The two on the left suppress one another at an IoU of 0.67 and below, and then outweigh the best box."""
    assert merged(BOXES, SCORES, "best") == pytest.approx(RIGHT)
    assert merged(BOXES, SCORES, "mean") == pytest.approx((0.3 * BOXES[0] + 0.3 * BOXES[1] + 0.5 * BOXES[2]) / 1.1)
    assert merged(BOXES, SCORES, "nms", 0.5) == pytest.approx(LEFT)
    assert merged(BOXES, SCORES, "nms", 0.9) == pytest.approx(RIGHT)
    assert RULES.keys() == THRESHOLDS.keys()


def plainly(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """OverFeat's rule as one would write it for one class of one image."""
    left = [(box, score) for box, score in zip(boxes, scores, strict=True)]
    while len(left) > 1:
        pairs = list(itertools.combinations(range(len(left)), 2))
        i, j = min(pairs, key=lambda pair: _match(left[pair[0]][0], left[pair[1]][0]))
        if _match(left[i][0], left[j][0]) > threshold:
            break
        new = ((left[i][0] + left[j][0]) / 2, left[i][1] + left[j][1])
        left = [each for place, each in enumerate(left) if place not in (i, j)] + [new]
    return max(left, key=lambda each: each[1])[0]


def _match(a: np.ndarray, b: np.ndarray) -> float:
    apart = np.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    mean_side = np.mean([a[2] - a[0] + 1, a[3] - a[1] + 1, b[2] - b[0] + 1, b[3] - b[1] + 1])
    return apart / mean_side + 1 - float(iou(a[None], b[None])[0, 0])


def test_many_problems_at_many_thresholds_are_as_one_by_one() -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 40, (25, 7, 2))
    boxes_GP4 = np.concatenate([corners, corners + rng.uniform(2, 40, corners.shape)], axis=-1)
    scores_GP = rng.random((25, 7))
    thresholds = THRESHOLDS["overfeat"]
    boxes_TG4 = merged_at(boxes_GP4, scores_GP, "overfeat", thresholds)
    for T, threshold in enumerate(thresholds):
        for G in range(25):
            np.testing.assert_allclose(boxes_TG4[T, G], plainly(boxes_GP4[G], scores_GP[G], threshold))


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_boxes_does_not_matter_and_one_box_stays(rule: str) -> None:
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 40, (8, 2))
    boxes_P4, scores_P = np.concatenate([corners, corners + rng.uniform(2, 40, corners.shape)], axis=-1), rng.random(8)
    order = rng.permutation(8)
    found, other = (merged(boxes_P4[each], scores_P[each], rule, 0.5) for each in (order, slice(None)))
    np.testing.assert_allclose(found, other)
    assert merged(boxes_P4[:1], scores_P[:1], rule) == pytest.approx(boxes_P4[0])


def test_of_many_boxes_the_best_are_merged() -> None:
    boxes = np.tile(np.array(LEFT), (MOST_BOXES + 9, 1))
    boxes[MOST_BOXES:] = RIGHT
    scores = np.full(len(boxes), 0.5)
    scores[MOST_BOXES:] = 0.1
    assert merged(boxes, scores, "overfeat", 99) == pytest.approx(LEFT)
