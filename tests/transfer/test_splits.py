"""Which images a probe learns from and which it is tested on, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from vgg_sweep.config.transfer import Transfer
from vgg_sweep.errors import ConfigError
from vgg_sweep.transfer.splits import ALL, Labelled, few_shot_rows, held_out, probe_splits, resolved

SIZES = (9, 5, 12)


def some(**other: object) -> Labelled:
    """Three classes of 9, 5 and 12 images."""
    labels_N = np.repeat(np.arange(3), SIZES)
    ids = [f"{label}/{index}" for index, label in enumerate(labels_N)]
    return replace(Labelled(ids, labels_N, None, ["a", "b", "c"], [f"{i:016x}" for i in range(26)]), **other)  # type: ignore[arg-type]


def asked(**settings: object) -> Transfer:
    return resolved(Transfer(train_per_class=4, test_per_class=3, **settings), "fractals")  # type: ignore[arg-type]


def test_what_appendix_b_has_for_each_set() -> None:
    found = {source: resolved(Transfer(), source) for source in ("caltech101", "caltech256", "voc2007", "folder")}
    assert [(each.train_per_class, each.test_per_class, each.pool) for each in found.values()] == [
        (30, 50, "stack"), (60, ALL, "stack"), (30, 50, "mean"), (30, 50, "stack"),
    ]  # fmt: skip
    assert resolved(Transfer(pool="max", train_per_class=5), "voc2007").pool == "max"


def test_drawn_splits_are_disjoint_full_and_the_same_every_time() -> None:
    images = some()
    splits = probe_splits(images, asked())
    assert len(splits) == 3
    for split in splits:
        assert not set(split.train) & set(split.test)
        assert np.bincount(images.labels[split.train]).tolist() == [4, 4, 4]
        assert np.bincount(images.labels[split.test]).tolist() == [3, 1, 3]  # class b has 5 images
    again = probe_splits(images, asked())
    assert all((a.train == b.train).all() and (a.test == b.test).all() for a, b in zip(splits, again, strict=True))
    assert any((splits[0].train != other.train).any() for other in splits[1:])
    other_seed = probe_splits(images, asked(split_seed=1))
    assert (splits[0].train != other_seed[0].train).any()


def test_every_image_of_a_class_is_drawn_as_often_as_any_other() -> None:
    images = some()
    times_N = np.zeros(26)
    for split in probe_splits(images, replace(asked(), num_splits=600)):
        times_N[split.train] += 1
    for label, size in enumerate(SIZES):
        expected = 600 * 4 / size
        assert np.abs(times_N[images.labels == label] - expected).max() < 6 * np.sqrt(600 * 4 / size * (1 - 4 / size))


def test_of_copies_only_one_is_drawn_and_images_without_features_are_not() -> None:
    images = some()
    contents = list(images.contents or ())
    contents[1] = contents[25] = contents[0]
    images = replace(images, contents=contents, left_out=frozenset({"0/2"}))
    splits = probe_splits(images, replace(asked(), test_per_class=ALL))
    for split in splits:
        drawn = {*split.train.tolist(), *split.test.tolist()}
        assert not drawn & {1, 2, 25} and len(drawn) == 23


def test_own_split_and_its_copies() -> None:
    images = some(is_test_N=np.arange(26) % 2 == 1)
    (split,) = probe_splits(images, asked())
    assert split.test.tolist() == list(range(1, 26, 2)) and split.train.tolist() == list(range(0, 26, 2))
    contents = list(images.contents or ())
    contents[3] = contents[2]
    with pytest.raises(ConfigError, match="1 test images are among the training images, such as 0/3, which is 0/2"):
        probe_splits(replace(images, contents=contents), asked())


def test_what_cannot_be_probed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"class b has 5 distinct images, but needs 5 .* train_per_class=4 or fewer"):
        probe_splits(some(), replace(asked(), train_per_class=5))
    with pytest.raises(ConfigError, match="shots=9 is more than train_per_class=4"):
        probe_splits(some(), asked(shots=[9]))
    with pytest.raises(ConfigError, match="no test image is of class b"):
        probe_splits(some(is_test_N=np.arange(26) < 5), asked())
    several = some(labels=np.zeros((26, 3), int), is_test_N=np.arange(26) < 5)
    with pytest.raises(ConfigError, match="no image of the set has a label of 1"):
        probe_splits(several, asked())
    labels_NK = np.ones((26, 3), int)
    labels_NK[5:, 1] = 0
    with pytest.raises(ConfigError, match="no training image is of class b"):
        probe_splits(replace(several, labels=labels_NK), asked())
    with pytest.raises(ConfigError, match="shots= is for sets with one class per image"):
        probe_splits(replace(several, labels=np.ones((26, 3), int)), asked(shots=[1]))


def test_a_fifth_of_each_class_is_held_out_and_few_are_few() -> None:
    images = some()
    train = np.arange(26)
    is_held_out_N = held_out(images, train, 0.2, 0)
    assert np.bincount(images.labels[is_held_out_N]).tolist() == [2, 1, 2]
    several = replace(images, labels=np.ones((26, 3), int))
    assert held_out(several, train, 0.2, 0).sum() == 5
    (first, *_) = probe_splits(images, asked())
    two = few_shot_rows(images, first.train, 2)
    assert np.bincount(images.labels[two]).tolist() == [2, 2, 2]
    assert set(two) < set(first.train) and set(few_shot_rows(images, first.train, 1)) < set(two)
