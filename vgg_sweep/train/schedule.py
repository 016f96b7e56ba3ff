"""How long a run trains, and the learning rate as a pure function of what has happened so far (Sect. 3.1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vgg_sweep.config.schema import Recipe
from vgg_sweep.plan.runs import Run

DROP_FACTOR = 10.0


@dataclass(frozen=True)
class Budget:
    """How long a run trains, in steps."""

    steps_per_epoch: int
    num_steps: int
    validate_every: int


def budget(run: Run, num_images: int) -> Budget:
    """The budget of `run` on `num_images` training images."""
    recipe = run.config.recipe
    steps_per_epoch = math.ceil(num_images / recipe.batch_size)
    return Budget(
        steps_per_epoch,
        num_steps=min(recipe.max_steps, math.ceil(run.epochs * steps_per_epoch)),
        validate_every=max(1, round(recipe.validate_epochs * steps_per_epoch)),
    )


def num_drops(recipe: Recipe, share_done: float, val_errors: Sequence[float]) -> int:
    """How often the rate has been divided by 10, given the share of the budget done and the validation errors so far.

    `plateau`: a drop each time the error has not fallen by `threshold` points for `patience_epochs` epochs, rounded up
    to whole validations. The paper lowers the rate "when the validation set accuracy stopped improving", three times in
    all; patience and threshold are ours.
    `fractions`: at fixed shares of the budget.
    """
    if recipe.schedule == "fractions":
        return sum(share_done >= fraction for fraction in recipe.drop_fractions)
    patience = math.ceil(round(recipe.patience_epochs / recipe.validate_epochs, 6))
    drops, best, since_best = 0, float("inf"), 0
    for error in val_errors:
        if error < best - recipe.threshold:
            best, since_best = error, 0
        else:
            since_best += 1
        if since_best == patience:
            drops, since_best = drops + 1, 0
    return drops


def is_over(recipe: Recipe, share_done: float, val_errors: Sequence[float]) -> bool:
    """Whether training ends: the budget is used up, or the error stalls once more after the last drop."""
    return share_done >= 1 or (
        recipe.schedule == "plateau" and num_drops(recipe, share_done, val_errors) > recipe.num_drops
    )


def learning_rate(initial: float, recipe: Recipe, share_done: float, val_errors: Sequence[float]) -> float:
    """The rate of the next step; under `cosine` it falls to 0 along half a cosine (Loshchilov & Hutter 2017)."""
    if recipe.schedule == "cosine":
        return initial * (1 + math.cos(math.pi * share_done)) / 2
    return initial / DROP_FACTOR ** num_drops(recipe, share_done, val_errors)
