"""Which images a probe is trained on and which it is tested on: the set's own split, or some drawn at random.

Axes: N images, K classes.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.config.transfer import Transfer
from vgg_sweep.errors import ConfigError

PER_CLASS = {"caltech256": (60, None)}
"""Training images and, at most, test images drawn of a class (Appendix B); of the other sets `OTHERS`."""
OTHERS = (30, 50)
ALL = 10**9
"""More test images than there are."""


@dataclass(frozen=True)
class Labelled:
    """The images of a set with their labels, for probes."""

    ids: Sequence[str]
    labels: NDArray[np.integer]
    """[N] class indices, or [N, K] of 1, -1 and 0."""
    is_test_N: NDArray[np.bool_] | None
    classes: Sequence[str]
    contents: Sequence[str] | None = None
    """Hash of each image's pixels, once it is known."""
    left_out: frozenset[str] = frozenset()
    """Ids of images without features."""
    metric: str = "recall"
    """As `ProbeSet` has it."""

    @staticmethod
    def of(manifest: dict[str, Any]) -> "Labelled":
        """Those of a features manifest."""
        test = manifest["test"]
        return Labelled(
            manifest["images"],
            np.array(manifest["labels"]),
            None if test is None else np.array(test, bool),
            manifest["classes"],
            manifest["contents"],
            frozenset(manifest.get("left_out", [])),
            manifest["metric"],
        )

    @property
    def has_several(self) -> bool:
        """Whether an image may be of several classes."""
        return self.labels.ndim == 2


@dataclass(frozen=True)
class ProbeSplit:
    """Rows of the images to train and to test on."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


def resolved(asked: Transfer, source: str) -> Transfer:
    """`asked` with the numbers and the pooling that Appendix B has for the set."""
    train, test = PER_CLASS.get(source, OTHERS)
    return replace(
        asked,
        train_per_class=asked.train_per_class or train,
        test_per_class=asked.test_per_class or test or ALL,
        pool=asked.pool if asked.pool != "auto" else "mean" if source.startswith("voc") else "stack",
    )


def probe_splits(images: Labelled, asked: Transfer) -> list[ProbeSplit]:
    """The splits of `asked`, which is resolved.

    Raises `ConfigError` for labels that are all 0, a class without images on one side, too few images of a class, or
    test images that are, by their content, among the training images.
    """
    usable = np.array([id not in images.left_out for id in images.ids])
    if images.has_several and not (images.labels > 0).any():
        raise ConfigError("no image of the set has a label of 1: its lists hold none; take those of VOC's archive.")
    if images.is_test_N is None:
        return list(_drawn(images, usable, asked))
    if asked.shots and images.has_several:
        raise ConfigError("shots= is for sets with one class per image; leave it out for this one.")
    split = ProbeSplit(np.flatnonzero(usable & ~images.is_test_N), np.flatnonzero(usable & images.is_test_N))
    for side, rows in (("training", split.train), ("test", split.test)):
        labels, every = images.labels[rows], range(len(images.classes))
        there = np.flatnonzero((labels > 0).any(axis=0)) if images.has_several else labels
        if missing := set(every) - set(there.tolist()):
            name = images.classes[min(missing)]
            raise ConfigError(f"no {side} image is of class {name}; a probe needs some of every class on both sides.")
    contents: Sequence[Hashable] = images.contents or range(len(images.ids))  # not known: no two are alike
    of_train = {contents[row]: row for row in split.train.tolist()}
    if copies := [row for row in split.test.tolist() if contents[row] in of_train]:
        row = copies[0]
        raise ConfigError(
            f"{len(copies)} test images are among the training images, such as {images.ids[row]}, which is "
            f"{images.ids[of_train[contents[row]]]}; a probe must be tested on other images than it was trained on: "
            "remove them from one of the lists."
        )
    return [split]


def _drawn(images: Labelled, usable: NDArray[np.bool_], asked: Transfer) -> Iterator[ProbeSplit]:
    """Of images with the same pixels the first is drawn from, so that no copy is on the other side."""
    assert asked.train_per_class is not None and asked.test_per_class is not None, "resolved"
    rows = np.flatnonzero(usable)
    if images.contents is not None:
        contents = np.array(images.contents)[rows]
        rows = rows[np.sort(np.unique(contents, return_index=True)[1])]
    by_class = [rows[images.labels[rows] == label] for label in range(len(images.classes))]
    for name, own in zip(images.classes, by_class, strict=True):
        if len(own) <= asked.train_per_class:
            raise ConfigError(
                f"class {name} has {len(own)} distinct images, but needs {asked.train_per_class} to train on and at "
                f"least one to test on; give train_per_class={max(1, len(own) - 1)} or fewer."
            )
    if asked.shots and max(asked.shots) > asked.train_per_class:
        raise ConfigError(f"shots={max(asked.shots)} is more than train_per_class={asked.train_per_class}.")
    for number in range(asked.num_splits):
        train, test = [], []
        for label, own in enumerate(by_class):
            drawn = _generator(asked.split_seed, number, label).permutation(own)
            train.append(drawn[: asked.train_per_class])
            test.append(drawn[asked.train_per_class : asked.train_per_class + asked.test_per_class])
        yield ProbeSplit(np.concatenate(train), np.concatenate(test))


def held_out(images: Labelled, train: NDArray[np.intp], share: float, seed: int) -> NDArray[np.bool_]:
    """Which of the training rows C is chosen on: of each class the nearest number to `share`, but at least one and not
    all; of sets with several classes an image, of all images.
    """
    is_held_out_N = np.zeros(len(train), bool)
    groups = [np.arange(len(train))] if images.has_several else [
        np.flatnonzero(images.labels[train] == label) for label in range(len(images.classes))
    ]  # fmt: skip
    for number, rows in enumerate(groups):
        drawn = _generator(seed, ALL, number).permutation(rows)
        is_held_out_N[drawn[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return is_held_out_N


def few_shot_rows(images: Labelled, train: NDArray[np.intp], shots: int) -> NDArray[np.intp]:
    """The first `shots` training rows of each class."""
    return np.concatenate([train[images.labels[train] == label][:shots] for label in range(len(images.classes))])


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([*key]))
