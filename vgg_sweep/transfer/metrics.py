"""What a probe is judged by, in percent: VOC's average precision, and the mean recall of the classes.

Axes: N images, K classes.
"""

import numpy as np
from numpy.typing import NDArray


def average_precision(decisions_N: NDArray[np.floating], labels_N: NDArray[np.integer], rule: str) -> float:
    """The average precision of one class. `rule` is `AP11`, VOC's until 2009: the mean over recalls 0, 0.1, ..., 1 of
    the best precision at that recall or a higher one; or `AP`, VOC's since 2010: the area under the precision made
    non-increasing.

    Images of label 0 are neither right nor wrong. NaN without an image of label 1.
    """
    return _of_ranked(labels_N[_ranked(decisions_N, labels_N)] > 0, rule)


def _ranked(decisions_N: NDArray[np.floating], labels_N: NDArray[np.integer]) -> NDArray[np.intp]:
    """The images that count, those first that are most likely of the class."""
    rows = np.flatnonzero(labels_N)
    return np.asarray(rows[np.argsort(-decisions_N[rows], kind="stable")])


def _of_ranked(is_right_N: NDArray[np.bool_], rule: str) -> float:
    num_positives = int(is_right_N.sum())
    if num_positives == 0:
        return float("nan")
    found_N = np.cumsum(is_right_N)
    precision_N = found_N / np.arange(1, len(found_N) + 1)
    best_N = np.maximum.accumulate(precision_N[::-1])[::-1]  # at this recall or a higher one
    if rule == "AP":
        return 100 * float(best_N[is_right_N].mean())
    tenths = range(11)  # in whole numbers: 3 of 10 is a recall of 0.3, which is not 3 * 0.1
    first = [int(np.searchsorted(10 * found_N, tenth * num_positives)) for tenth in tenths]
    return 100 * float(np.mean([best_N[index] for index in first]))


def mean_average_precision(
    decisions_NK: NDArray[np.floating], labels_NK: NDArray[np.integer], rule: str
) -> tuple[float, list[float]]:
    """The mean over the classes that have a positive image, and that of each class."""
    columns = zip(decisions_NK.T, labels_NK.T, strict=True)
    each_K = [average_precision(decisions_N, labels_N, rule) for decisions_N, labels_N in columns]
    return float(np.nanmean(each_K)), each_K


def influences(decisions_NK: NDArray[np.floating], labels_NK: NDArray[np.integer], rule: str) -> NDArray[np.floating]:
    """What each image does to the mean average precision, in percent [N], by leaving it out (the jackknife): their mean
    is the mean average precision, and the standard error of their mean is its own.
    """
    num_images, num_classes = labels_NK.shape
    found_NK = np.full((num_images, num_classes), np.nan)
    for k in range(num_classes):
        order = _ranked(decisions_NK[:, k], labels_NK[:, k])
        is_right_N = labels_NK[order, k] > 0
        whole = _of_ranked(is_right_N, rule)
        starts = np.flatnonzero(
            np.diff(is_right_N, prepend=~is_right_N[:1])
        )  # in a run of equals, whichever is left out
        without = np.array([_of_ranked(np.delete(is_right_N, start), rule) for start in starts])
        left_N = np.repeat(np.where(np.isnan(without), whole, without), np.diff(starts, append=len(order)))
        found_NK[:, k] = whole
        found_NK[order, k] += (num_images - 1) * (left_N.mean() - left_N)
    return np.asarray(np.nanmean(found_NK, axis=1))


def mean_class_recall(
    predicted_N: NDArray[np.integer], labels_N: NDArray[np.integer], num_classes: int
) -> tuple[float, list[float]]:
    """The mean over classes of how many of a class's images are taken for it, and that of each class."""
    is_right_N = (predicted_N == labels_N).astype(float)
    totals_K = np.bincount(labels_N, minlength=num_classes)
    rights_K = np.bincount(labels_N, weights=is_right_N, minlength=num_classes)
    each_K = 100 * np.divide(rights_K, totals_K, out=np.full(num_classes, np.nan), where=totals_K > 0)
    return float(np.nanmean(each_K)), [float(recall) for recall in each_K]
