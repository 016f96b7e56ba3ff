"""Detects a wrong order of the classes of the validation images, from a net that knows its training set.

Such a net is at chance on them, yet its answers correlate with their labels.

Axes: N images, K classes.
"""

import math
from collections.abc import Sequence

import numpy as np

from vgg_sweep.images.sets.labels import mistakes
from vgg_sweep.images.sets.wnids import shown

SURE_DEVIATIONS = 3.0
"""Standard deviations by which a share must differ from another."""


def is_at_chance(error: float, num_images: int, num_classes: int) -> bool:
    """Whether `error`, in percent of `num_images`, is that of guessing: not clearly better, on enough images to
    distinguish guessing from a net that `knows_much`.
    """
    chance = 1 / num_classes
    largest = chance + SURE_DEVIATIONS * math.sqrt(chance * (1 - chance) / num_images)
    return 1 - error / 100 <= largest < 1 / math.sqrt(num_classes)


def knows_much(error: float, num_classes: int) -> bool:
    """Whether `error`, in percent, is better than halfway, in logarithms, from guessing to no error at all."""
    return 1 - error / 100 > 1 / math.sqrt(num_classes)


def order_doubt(train_error: float, val_error: float, num_val: int, num_classes: int) -> str | None:
    """In a sentence, that a net knows its training images and guesses on the validation images; errors in percent."""
    if knows_much(train_error, num_classes) and is_at_chance(val_error, num_val, num_classes):
        return (
            f"the error is {train_error:.3g} % on training images and {val_error:.3g} % on val's, which is no better "
            "than guessing: are val's labels in another order? docs/data.md says how that happens"
        )
    return None


def order_hint(guesses_N: np.ndarray, labels_N: np.ndarray, classes: Sequence[str]) -> str | None:
    """In a sentence, that the labels are in another order than the classes, and which if it is one that people mix up.

    None where the net is better than chance, or where no other order makes it so.
    """
    if is_at_chance(_error(guesses_N == labels_N), len(labels_N), len(classes)):
        for words, wrong in mistakes():
            label_of = {name: label for label, name in enumerate(classes)}
            taken_K = np.array([label_of.get(wrong.get(name) or "", -1) for name in classes])
            if _is_known(taken_K[guesses_N] == labels_N, labels_N):
                return _sentence(guesses_N, labels_N, classes, _error(taken_K[guesses_N] == labels_N), f": {words}")
        learned_K, tested = _label_of_guess(guesses_N[::2], labels_N[::2], len(classes)), slice(1, None, 2)
        is_right_N = learned_K[guesses_N[tested]] == labels_N[tested]
        if _is_known(is_right_N, labels_N):
            return _sentence(guesses_N, labels_N, classes, _error(is_right_N), "")
    return None


def _label_of_guess(guesses_N: np.ndarray, labels_N: np.ndarray, num_classes: int) -> np.ndarray:
    """The most frequent label of the images that are taken for each class."""
    counts_KK = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts_KK, (guesses_N, labels_N), 1)
    most_K: np.ndarray = counts_KK.argmax(axis=1)
    return most_K


def _is_known(is_right_N: np.ndarray, labels_N: np.ndarray) -> bool:
    """As `knows_much`, surely, and against saying the most frequent class of them always."""
    if len(is_right_N) == 0:
        return False
    share, largest = float(is_right_N.mean()), float(np.bincount(labels_N).max() / len(labels_N))
    return share - SURE_DEVIATIONS * math.sqrt(share * (1 - share) / len(is_right_N)) > math.sqrt(largest)


def _sentence(guesses_N: np.ndarray, labels_N: np.ndarray, classes: Sequence[str], error: float, why: str) -> str:
    pairs, counts = np.unique(np.stack([labels_N, guesses_N]), axis=1, return_counts=True)
    label, guess = pairs[:, counts.argmax()]
    return (
        f"the error is no better than guessing, but it would be {error:.3g} % if val's labels were in another order "
        f"(images labelled {shown(classes[label])} are taken for {shown(classes[guess])}){why}; docs/data.md says what "
        "to do"
    )


def _error(is_right_N: np.ndarray) -> float:
    return 100 * (1 - float(is_right_N.mean()))
