"""Whether predicted boxes are right, by the rule of ILSVRC's development kit (Appendix A).

An image is right if one of its first five guesses has the true class and overlaps any of the image's boxes of that
class by at least `CORRECT_IOU`. Blacklisted images, and here those without a box of their class, are left out of both
sides of the division. Five guesses of one class would pass the kit; ours are of five classes, as the paper's.

Axes: N images, g guesses of an image, P boxes of one class in one image, T thresholds.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.geometry import CORRECT_IOU, Floats, clipped, overlaps
from vgg_sweep.localise.merging import MOST_BOXES, merged_at
from vgg_sweep.localise.stored import PassBoxes, Truth

NUM_GUESSES = 5
CONTROLS = {"whole image": 1.0, "centre box, 0.75 of each side": 0.75}
"""Boxes that need no net, by their share of each side: what any net must beat."""
HELD_OUT_SHARE = 0.2
"""Of the validation images, on which the threshold of a merging is chosen; the errors are of the others."""
AT_ONCE = 2**22
"""Pairs of boxes that are merged at a time."""


def counted(truth: Truth, labels_N: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The images that a localisation error is of."""
    return truth.boxes.has(labels_N) & ~truth.blacklisted_N


def wrong(
    guesses_Ng: NDArray[np.integer], boxes_Ng4: Floats, truth: Boxes, labels_N: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Which images are wrong [N], as are those without a box of their class; guesses beyond five are not looked at."""
    images_B = np.repeat(np.arange(len(truth)), truth.counts_N)
    is_own_B = truth.labels_B == np.asarray(labels_N)[images_B]
    own_B4, images_B = truth.boxes_B4[is_own_B], images_B[is_own_B]
    best_N = np.zeros(len(truth))
    for guess_N, box_N4 in zip(guesses_Ng.T[:NUM_GUESSES], np.moveaxis(boxes_Ng4, 1, 0), strict=False):
        overlaps_B = overlaps(box_N4[images_B], own_B4)
        np.maximum.at(best_N, images_B, np.where((guess_N == labels_N)[images_B], overlaps_B, 0))
    return best_N < CORRECT_IOU


def centre_boxes(sizes_N2: NDArray[np.integer], share: float) -> Floats:
    """The box [N, 4] in the middle of each image that takes `share` of each side."""
    edges_N2 = np.asarray(sizes_N2) * (1 - share) / 2
    return np.concatenate([edges_N2, sizes_N2 - edges_N2 - 1], axis=1)


def held_out(num_images: int) -> NDArray[np.bool_]:
    """The images on which thresholds are chosen, the same in every report."""
    chosen_N = np.zeros(num_images, bool)
    order_N = np.random.default_rng(0).permutation(num_images)
    chosen_N[order_N[: round(HELD_OUT_SHARE * num_images)]] = True
    return chosen_N


def answers(
    passes: Sequence[PassBoxes],
    guesses_Ng: NDArray[np.integer],
    sizes_N2: NDArray[np.integer],
    rule: str,
    thresholds: Sequence[float],
) -> NDArray[np.float64]:
    """The one box [T, N, g, 4] that the boxes of all passes, which may be of several nets, become for each guess.

    Clipped to the image; without area, and so never right, where no pass has kept the guessed class.
    """
    num_images, num_guesses = guesses_Ng.shape
    found_TNg4 = np.tile(np.array([0.0, 0, -1, -1]), (len(thresholds), num_images, num_guesses, 1))
    for rows_G, guesses_G, boxes_GP4, scores_GP in _problems(passes, guesses_Ng):
        boxes_TG4 = merged_at(boxes_GP4, scores_GP, rule, thresholds)
        widths_G, heights_G = sizes_N2[rows_G].T
        found_TNg4[:, rows_G, guesses_G] = clipped(boxes_TG4, widths_G, heights_G)
    return found_TNg4


def _problems(
    passes: Sequence[PassBoxes], guesses_Ng: NDArray[np.integer]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]]:
    """Images, numbers of guesses, boxes [G, P, 4] and scores [G, P] of all guesses whose class has as many boxes."""
    columns_MNg = np.stack([_columns(each, guesses_Ng) for each in passes])
    counts_MNg = np.where(columns_MNg >= 0, np.stack([each.positions_N for each in passes])[..., None], 0)
    kinds, kind_Ng = np.unique(counts_MNg.reshape(len(passes), -1), axis=1, return_inverse=True)
    kind_Ng = kind_Ng.reshape(guesses_Ng.shape)
    for kind, counts_M in enumerate(kinds.T):
        if not (num_boxes := int(counts_M.sum())):
            continue
        rows_G, numbers_G = np.nonzero(kind_Ng == kind)
        step = max(1, AT_ONCE // min(num_boxes, MOST_BOXES) ** 2)
        for first in range(0, len(rows_G), step):
            rows, numbers = rows_G[first : first + step], numbers_G[first : first + step]
            parts = [
                _taken(each, rows, columns_MNg[number][rows, numbers], int(counts_M[number]))
                for number, each in enumerate(passes)
                if counts_M[number]
            ]
            boxes_GP4, scores_GP = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
            yield rows, numbers, boxes_GP4, scores_GP


def _columns(each: PassBoxes, guesses_Ng: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where each guessed class is among those that were kept [N, g]; -1 where it was not."""
    is_it_Ngk = each.classes_Nk[:, None, :] == guesses_Ng[:, :, None]
    return np.where(is_it_Ngk.any(axis=2), is_it_Ngk.argmax(axis=2), -1)


def _taken(
    each: PassBoxes, images_G: NDArray[np.int64], columns_G: NDArray[np.int64], num_positions: int
) -> tuple[Floats, Floats]:
    """Boxes [G, P, 4] and scores [G, P] of one class of each image."""
    rows_GP = each.starts_N[images_G][:, None] + np.arange(num_positions)
    is_shared = each.boxes_Rk4.shape[1] == 1
    box_columns_G1 = np.zeros_like(columns_G)[:, None] if is_shared else columns_G[:, None]
    return each.boxes_Rk4[rows_GP, box_columns_G1], each.scores_Rk[rows_GP, columns_G[:, None]]
