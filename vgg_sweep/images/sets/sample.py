"""A small sample of a set, from all of its classes: to try out quickly what works on the whole."""

from dataclasses import replace

import numpy as np

from vgg_sweep.images.sets.splits import ImageSet, Split


def sampled(images: ImageSet, num_train: int, num_val: int) -> ImageSet:
    """At most so many training and validation images, evenly spaced in their order; all classes stay."""
    train, val = _spaced(images.train, num_train), _spaced(images.val, num_val)
    return replace(images, train=train, val=val, fingerprint=f"{images.fingerprint} by {num_train} and {num_val}")


def _spaced(split: Split, number: int) -> Split:
    rows = np.unique(np.linspace(0, len(split) - 1, min(number, len(split)), dtype=int))
    ids, stored = [split.ids[int(row)] for row in rows], split.stored
    return Split(ids, split.labels_N[rows], lambda index: stored(int(rows[index])), split.settings)
