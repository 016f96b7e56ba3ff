"""A wrong order of val's labels is told from what a net says, and not where the net merely knows little."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Outcome
from vgg_sweep.images.check.label_order import is_at_chance, knows_much, order_hint
from vgg_sweep.images.sets.wnids import synsets

RNG = np.random.default_rng(0)
FOODS = [f"food{number}" for number in range(10)]


def guesses(labels_N: np.ndarray, error: float, num_classes: int) -> np.ndarray:
    """Of a net that is wrong in `error` percent."""
    is_wrong_N = RNG.random(len(labels_N)) < error / 100
    return np.where(is_wrong_N, RNG.integers(num_classes, size=len(labels_N)), labels_N)


def test_chance_is_told_with_the_number_of_images() -> None:
    assert is_at_chance(90, 100, 10) and is_at_chance(82, 100, 10) and not is_at_chance(82, 10_000, 10)
    assert is_at_chance(99.9, 50_000, 1000) and not is_at_chance(99, 50_000, 1000)
    assert knows_much(60, 10) and not knows_much(75, 10) and knows_much(95, 1000)


@pytest.mark.parametrize("shift", [-1, 0])
def test_the_development_kits_numbers_are_named(shift: int) -> None:
    """A file of ILSVRC2012_IDs of which each is taken for a place among the sorted wnids."""
    wnids = sorted(synsets())
    true_N = RNG.permutation(np.arange(10_000) % 1000)
    wrong_N = np.array([(synsets()[wnids[place]].devkit_id + shift) % 1000 for place in true_N])
    hint = order_hint(guesses(true_N, 40, 1000), wrong_N, wnids)
    assert hint is not None and "the development kit's numbers were taken for places in the sorted wnids" in hint
    assert 38 < float(hint.split(" %")[0].split()[-1]) < 42


def test_any_other_order_is_told() -> None:
    true_N = RNG.integers(10, size=600)
    turned_N = (true_N + 3) % 10
    hint = order_hint(guesses(true_N, 30, 10), turned_N, FOODS)
    assert hint is not None and "labels were in another order (images labelled food" in hint
    label, guess = (int(part[4]) for part in hint.replace(")", " ").split() if part.startswith("food"))
    assert label == (guess + 3) % 10


def test_a_net_that_knows_little_is_not_blamed_on_the_labels() -> None:
    labels_N = RNG.integers(10, size=600)
    assert order_hint(guesses(labels_N, 30, 10), labels_N, FOODS) is None
    assert order_hint(guesses(labels_N, 100, 10), labels_N, FOODS) is None
    assert order_hint(np.full(600, 7), labels_N, FOODS) is None
    assert order_hint(guesses(labels_N, 85, 10), (labels_N + 3) % 10, FOODS) is None  # more than nothing, not much
    lopsided_N = (RNG.random(600) < 0.1).astype(int)  # always saying 1 looks like a swap
    assert order_hint(np.ones(600, int), lopsided_N, FOODS) is None
    assert order_hint(np.array([1]), np.array([0]), FOODS) is None


def test_a_run_says_it(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    """Val's folders are each named as the next class; the curves show it, and the scores which class is which."""
    colours = {"ant": (200, 60, 60), "bee": (60, 200, 60), "cat": (60, 60, 200)}
    for place, (name, colour) in enumerate(colours.items()):
        for split, folder in (("train", name), ("val", list(colours)[(place + 1) % 3])):
            (tmp_path / "set" / split / folder).mkdir(parents=True)
            for number in range(16):
                noisy_HWC = np.clip(RNG.normal(colour, 20, (37, 37, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(noisy_HWC).save(tmp_path / "set" / split / folder / f"{number}.png")
    recipe = ["epochs=7", "batch_size=8", "init=he", "dropout=0", "lr=0.01"]
    asked = (
        "train", "data=folder", "data.root=set", "model=A", "protocol=single", "width=0.03125", "crop=32",
        "device=cpu", "workers=0", "threads=1", "out=runs", *(f"recipe.{setting}" for setting in recipe),
    )  # fmt: skip
    done = call(*asked)
    assert done.exit_code == 0, done.err
    [folder] = (tmp_path / "runs").glob("*/")
    assert "are val's labels in another order?" in (folder / "log.txt").read_text()
    hint = json.loads((folder / "record.json").read_text())["order_hint"]
    assert "it would be 0 % if val's labels were in another order" in hint and hint in (folder / "log.txt").read_text()
    for old, new in (("ant", "new"), ("bee", "ant"), ("cat", "bee"), ("new", "cat")):
        (tmp_path / "set" / "val" / old).rename(tmp_path / "set" / "val" / new)
    shutil.rmtree(folder / "posteriors")
    assert call(*asked).exit_code == 0
    assert json.loads((folder / "record.json").read_text())["order_hint"] is None


def test_a_small_set_is_not_called_guessing() -> None:
    """Three standard deviations above a half are beyond 1 for nine images, and beyond 1/sqrt(2) up to 52."""
    assert not is_at_chance(0, 9, 2) and not is_at_chance(50, 9, 2)
    assert not is_at_chance(50, 52, 2) and is_at_chance(50, 53, 2)
    assert not is_at_chance(0, 100, 1)
    assert order_hint(np.zeros(9, int), np.zeros(9, int), ["ant", "bee"]) is None
