"""The plateau rule on hand-worked histories; the fractions on a hand-worked budget."""

from dataclasses import replace

import pytest

from vgg_sweep.config.schema import Recipe
from vgg_sweep.train.schedule import is_over, learning_rate, num_drops

PLATEAU = Recipe(name="test", schedule="plateau", patience_epochs=2, threshold=0.1)


@pytest.mark.parametrize(
    ("val_errors", "drops"),
    [
        ([], 0),
        ([50, 40, 30], 0),  # falls all the time
        ([50, 50, 50], 1),  # two validations without improvement
        ([50, 49.95, 49.92], 1),  # improves by less than the threshold
        ([50, 60, 40, 41, 39], 0),  # one bad validation is not a plateau
        ([50, 50, 50, 50, 50], 2),  # patience starts anew after a drop
        ([50, 50, 50, 40, 40, 40, 40, 40], 3),
    ],
)
def test_plateau(val_errors: list[float], drops: int) -> None:
    assert num_drops(PLATEAU, 0.1, val_errors) == drops
    assert learning_rate(0.01, PLATEAU, 0.1, val_errors) == pytest.approx(0.01 / 10**drops)


def test_training_ends_when_the_error_stalls_after_the_third_drop() -> None:
    assert not is_over(PLATEAU, 0.5, [50.0] * 7)
    assert is_over(PLATEAU, 0.5, [50.0] * 9)


def test_training_ends_with_its_budget() -> None:
    assert not is_over(PLATEAU, 0.999, [50.0])
    assert is_over(PLATEAU, 1.0, [50.0])


def test_fractions() -> None:
    recipe = Recipe(name="test", schedule="fractions", drop_fractions=[0.5, 0.75, 0.9])
    rates = [learning_rate(1.0, recipe, step / 20, []) for step in range(20)]
    assert rates == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 3 + [0.001] * 2)


@pytest.mark.parametrize(
    ("validate_epochs", "num_flat", "drops"),
    [(0.5, 3, 0), (0.5, 4, 1), (2.0, 1, 1), (0.3, 6, 0), (0.3, 7, 1)],  # 2 epochs are 4, 1 and 6.7 validations
)
def test_patience_counts_epochs_whatever_lies_between_two_validations(
    validate_epochs: float, num_flat: int, drops: int
) -> None:
    recipe = replace(PLATEAU, validate_epochs=validate_epochs)
    assert num_drops(recipe, 0.1, [50.0] * (1 + num_flat)) == drops
