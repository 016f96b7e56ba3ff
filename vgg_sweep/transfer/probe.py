"""A probe (Appendix B): linear SVMs on descriptors, C chosen on a held-out fifth, and the nearest neighbours beside
them.

Axes: N images, D dimensions of a descriptor, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.transfer import Transfer
from vgg_sweep.transfer.descriptors import descriptors, normalised
from vgg_sweep.transfer.metrics import influences, mean_average_precision, mean_class_recall
from vgg_sweep.transfer.records import Probe
from vgg_sweep.transfer.splits import Labelled, ProbeSplit, few_shot_rows, held_out
from vgg_sweep.transfer.svm import Svm, train

NEIGHBOURS = 20
TEMPERATURE = 0.07
"""A neighbour at cosine similarity s votes with exp(s / TEMPERATURE)."""
ENOUGH = 2
"""Values of C in a row that do worse than a smaller one."""
ROWS_AT_ONCE = 1000
"""Test images whose similarities are in memory at a time."""

OnStep = Callable[[int, int, float], None]
"""Called after each step of an SVM: how many of how many SVMs are done, and its C."""


def probe(
    probed: Probe, images: Labelled, splits: list[ProbeSplit], on_step: OnStep, overrides: Sequence[str]
) -> list[dict[str, Any]]:
    """What the probe finds on each split; those in the record are not probed again, the others go into it at once."""
    found = probed.found()
    of_full = [split["C"] for split in replace(probed, shots=None).found()] if probed.shots else []  # on all images
    for number, split in enumerate(splits[len(found) :], start=len(found)):
        rows = split.train if probed.shots is None else few_shot_rows(images, split.train, probed.shots)
        C = of_full[number] if probed.shots else None

        def of_all(done: int, total: int, C: float, before: int = number) -> None:
            on_step(before * total + done, len(splits) * total, C)

        found.append(_probe_split(probed, images, ProbeSplit(rows, split.test), C, of_all))
        probed.write(found, overrides)
    return found


def _probe_split(
    probed: Probe, images: Labelled, split: ProbeSplit, C: float | None, on_step: OnStep
) -> dict[str, Any]:
    train_ND, test_ND = (descriptors(probed.folders, probed.how, rows) for rows in (split.train, split.test))
    signs_NK = signs(images, split.train, probed.asked.difficult)
    scores: dict[str, float] = {}
    if C is None:
        C, scores = choose_C(images, split.train, train_ND, signs_NK, probed.asked, on_step)
    number = len(probed.asked.C) if scores else 0
    svm = train(train_ND, signs_NK, C, on_step=lambda: on_step(number, number + 1, C))
    decisions_NK = svm.decisions(test_ND)
    value, each, predicted_N = evaluated(images, split.test, decisions_NK)
    neighbours, _, _ = evaluated(images, split.test, nearest(train_ND, signs_NK, test_ND))
    result = {"C": C, "C_scores": scores, "value": value, "per_class": each, "neighbours": neighbours}
    result |= {"num_train": len(split.train), "num_test": len(split.test), "tested": split.test.tolist()}
    if predicted_N is None:
        worth_N = influences(decisions_NK, images.labels[split.test], images.metric)
        return result | {"influences": worth_N.round(4).tolist()}
    is_wrong_N = predicted_N != images.labels[split.test]
    return result | {"labels": images.labels[split.test].tolist(), "wrong": split.test[is_wrong_N].tolist()}


def signs(images: Labelled, rows: NDArray[np.intp], difficult: str) -> NDArray[np.int8]:
    """What the SVM of each class is taught of some images, [N, K]: 1 the class, -1 the rest, 0 left out."""
    if images.has_several:
        given_NK = images.labels[rows].astype(np.int8)
        return np.where(given_NK == 0, -1, given_NK).astype(np.int8) if difficult == "negative" else given_NK
    is_class_NK = images.labels[rows][:, None] == np.arange(len(images.classes))
    return np.where(is_class_NK, 1, -1).astype(np.int8)


def choose_C(
    images: Labelled,
    rows: NDArray[np.intp],
    train_ND: NDArray[np.float32],
    signs_NK: NDArray[np.int8],
    asked: Transfer,
    on_step: OnStep,
) -> tuple[float, dict[str, float]]:
    """The C that does best on the held-out training images, the smallest of equals, and what each does; after `ENOUGH`
    in a row that do worse, larger ones are not tried.
    """
    is_held_out_N = held_out(images, rows, asked.held_out, asked.split_seed)
    kept_ND, held_ND = train_ND[~is_held_out_N], train_ND[is_held_out_N]
    grid = sorted(set(asked.C))
    scores: dict[str, float] = {}
    svm: Svm | None = None
    for number, C in enumerate(grid):
        svm = train(kept_ND, signs_NK[~is_held_out_N], C, svm, partial(on_step, number, len(grid) + 1, C))
        scores[f"{C:g}"], _, _ = evaluated(images, rows[is_held_out_N], svm.decisions(held_ND))
        if max([*scores.values()][-ENOUGH:]) < max(scores.values()):
            break
    best = max(scores.values())
    return next(C for C in grid if scores.get(f"{C:g}") == best), scores


def evaluated(
    images: Labelled, rows: NDArray[np.intp], decisions_NK: NDArray[np.floating]
) -> tuple[float, list[float], NDArray[np.intp] | None]:
    """The set's metric in percent, that of each class, and the class that each image is taken for, if it has one."""
    if images.has_several:
        value, each = mean_average_precision(decisions_NK, images.labels[rows], images.metric)
        return value, each, None
    predicted_N = decisions_NK.argmax(axis=1)
    value, each = mean_class_recall(predicted_N, images.labels[rows], len(images.classes))
    return value, each, predicted_N


def nearest(
    train_ND: NDArray[np.float32], signs_NK: NDArray[np.int8], test_ND: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Votes for each class, [N, K], by the training images that are most like a test image."""
    is_class_NK = (signs_NK > 0).astype(np.float32)
    num = min(NEIGHBOURS, len(train_ND))
    known_ND = normalised(train_ND)
    votes = []
    for first in range(0, len(test_ND), ROWS_AT_ONCE):
        alike_NM = normalised(test_ND[first : first + ROWS_AT_ONCE]) @ known_ND.T
        best_NM = np.argpartition(-alike_NM, num - 1, axis=1)[:, :num]
        weights_NM = np.exp((np.take_along_axis(alike_NM, best_NM, axis=1) - 1) / TEMPERATURE)
        votes.append(np.einsum("nm,nmk->nk", weights_NM, is_class_NK[best_NM]))
    return np.concatenate(votes)
