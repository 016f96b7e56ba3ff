"""The boxes that a net predicts for one class at all its positions and scales become one (Appendix A).

OverFeat's greedy merging (Sermanet et al. 2014, Sect. 4.3): of all pairs of boxes the one with the smallest match score
is replaced by the mean of its coordinates, until that score exceeds a threshold; a merged box has the sum of the scores
of those it is made of, and the answer is the box with the largest. The match score is worded there as the sum of the
distance between centres and of the intersection, which grows both with what speaks against a match and with what speaks
for it. We read it as the distance of the centres in units of the mean side, plus 1 - IoU. The threshold is not stated.

Axes: G problems, each an image and a class; P boxes of a problem; T thresholds.
"""

from collections.abc import Sequence

import numpy as np

from vgg_sweep.localise.geometry import Floats, centres, overlaps, sides

RULES = {
    "overfeat": "OverFeat's greedy merging",
    "nms": "the best box of each group of overlapping ones, groups rated by their summed scores",
    "mean": "the mean of all boxes, weighted by their scores",
    "best": "the box of the highest score",
}
THRESHOLDS: dict[str, tuple[float, ...]] = {
    "overfeat": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    "nms": (0.3, 0.4, 0.5, 0.6, 0.7),
    "mean": (0.0,),
    "best": (0.0,),
}
"""What is tried on a held-out part: match scores of `overfeat`, IoUs of `nms`; the others have none."""
USUAL_THRESHOLD = 1.0
"""Of `overfeat`, where there is nothing to choose it on."""
MOST_BOXES = 64
"""Of more boxes of a class, those of the highest scores are merged. Ours, for time: the work grows with their cube."""


def merged_at(boxes_GP4: Floats, scores_GP: Floats, rule: str, thresholds: Sequence[float]) -> Floats:
    """The box [T, G, 4] of each of many problems at several thresholds."""
    boxes_GP4, scores_GP = np.asarray(boxes_GP4, np.float64), np.asarray(scores_GP, np.float64)
    if scores_GP.shape[1] > MOST_BOXES:
        kept_GP = np.argsort(-scores_GP, axis=1, kind="stable")[:, :MOST_BOXES]
        boxes_GP4 = np.take_along_axis(boxes_GP4, kept_GP[..., None], axis=1)
        scores_GP = np.take_along_axis(scores_GP, kept_GP, axis=1)
    match rule:
        case "overfeat":
            return _overfeat(boxes_GP4, scores_GP, np.asarray(thresholds))
        case "nms":
            return np.stack([_nms(boxes_GP4, scores_GP, threshold) for threshold in thresholds])
        case "mean":
            weights_GP = scores_GP / np.maximum(scores_GP.sum(axis=1, keepdims=True), np.finfo(float).tiny)
            boxes_G4 = np.einsum("gpc,gp->gc", boxes_GP4, weights_GP)
        case _:
            boxes_G4, _ = _best(boxes_GP4, scores_GP)
    return np.repeat(boxes_G4[None], len(thresholds), axis=0)


def _best(boxes_GP4: Floats, scores_GP: Floats) -> tuple[Floats, Floats]:
    best_G = scores_GP.argmax(axis=1)
    every_G = np.arange(len(best_G))
    return boxes_GP4[every_G, best_G], scores_GP[every_G, best_G]


def match_scores(first: Floats, second: Floats) -> Floats:
    """How little two boxes [..., 4] match: 0 for the same box, beyond 1 where they share nothing."""
    (first_x, first_y), (second_x, second_y) = (np.moveaxis(centres(each), -1, 0) for each in (first, second))
    apart = np.hypot(first_x - second_x, first_y - second_y)
    mean_side = np.maximum(sides(first).sum(axis=-1) / 4 + sides(second).sum(axis=-1) / 4, 1e-9)
    score: Floats = apart / mean_side + 1 - overlaps(first, second)
    return score


def _overfeat(boxes_GP4: Floats, scores_GP: Floats, thresholds_T: Floats) -> Floats:
    """One greedy run answers for all thresholds: each takes the answer from before its first step beyond it."""
    boxes_GP4, scores_GP = boxes_GP4.copy(), scores_GP.copy()
    num_problems, num_boxes = scores_GP.shape
    match_GPP = match_scores(boxes_GP4[:, :, None], boxes_GP4[:, None])
    match_GPP[:, np.arange(num_boxes), np.arange(num_boxes)] = np.inf
    found_TG4 = np.empty((len(thresholds_T), num_problems, 4))
    is_open_TG = np.ones(found_TG4.shape[:2], bool)
    every_G = np.arange(num_problems)
    while True:
        first_G, second_G = np.divmod(match_GPP.reshape(num_problems, -1).argmin(axis=1), num_boxes)
        ends_TG = is_open_TG & (match_GPP[every_G, first_G, second_G] > thresholds_T[:, None])
        found_TG4[ends_TG] = np.broadcast_to(_best(boxes_GP4, scores_GP)[0], found_TG4.shape)[ends_TG]
        is_open_TG &= ~ends_TG
        if not is_open_TG.any():
            return found_TG4
        boxes_GP4[every_G, first_G] = (boxes_GP4[every_G, first_G] + boxes_GP4[every_G, second_G]) / 2
        scores_GP[every_G, first_G] += scores_GP[every_G, second_G]
        scores_GP[every_G, second_G] = -np.inf
        anew_GP = match_scores(boxes_GP4[every_G, first_G][:, None], boxes_GP4)
        anew_GP[np.isneginf(scores_GP)] = np.inf
        anew_GP[every_G, first_G] = np.inf
        match_GPP[every_G, first_G, :] = match_GPP[every_G, :, first_G] = anew_GP
        match_GPP[every_G, second_G, :] = match_GPP[every_G, :, second_G] = np.inf


def _nms(boxes_GP4: Floats, scores_GP: Floats, least_iou: float) -> Floats:
    """Greedy suppression, in which a box gets the scores of those that it suppresses."""
    left_GP = scores_GP.copy()
    best_G4, best_G = np.zeros((len(scores_GP), 4)), np.full(len(scores_GP), -np.inf)
    for _ in range(scores_GP.shape[1]):
        leaders_G4, highest_G = _best(boxes_GP4, left_GP)
        is_near_GP = (overlaps(leaders_G4[:, None], boxes_GP4) >= least_iou) & ~np.isneginf(left_GP)
        is_near_GP[np.arange(len(left_GP)), left_GP.argmax(axis=1)] = True
        sums_G = np.where(np.isneginf(highest_G), -np.inf, np.where(is_near_GP, scores_GP, 0).sum(axis=1))
        is_better_G = sums_G > best_G
        best_G4[is_better_G], best_G[is_better_G] = leaders_G4[is_better_G], sums_G[is_better_G]
        left_GP[is_near_GP] = -np.inf
        if np.isneginf(left_GP).all():
            break
    return best_G4
