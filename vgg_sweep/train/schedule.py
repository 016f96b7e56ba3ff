"""The learning rate as a pure function of what has happened so far (Sect. 3.1)."""

from collections.abc import Sequence

from vgg_sweep.config.schema import Recipe

DROP_FACTOR = 10.0


def num_drops(recipe: Recipe, share_done: float, val_errors: Sequence[float]) -> int:
    """How often the rate has been divided by 10, given the share of the budget done and the validation errors so far.

    `plateau`: a drop each time the error has not fallen by `threshold` points for `patience_epochs` validations in a
    row. The paper lowers the rate "when the validation set accuracy stopped improving", three times in all; patience
    and threshold are ours.
    `fractions`: at fixed shares of the budget.
    """
    if recipe.schedule == "fractions":
        return sum(share_done >= fraction for fraction in recipe.drop_fractions)
    drops, best, since_best = 0, float("inf"), 0
    for error in val_errors:
        if error < best - recipe.threshold:
            best, since_best = error, 0
        else:
            since_best += 1
        if since_best == recipe.patience_epochs:
            drops, since_best = drops + 1, 0
    return drops


def is_over(recipe: Recipe, share_done: float, val_errors: Sequence[float]) -> bool:
    """Whether training ends: the budget is used up, or the error stalls once more after the last drop."""
    return share_done >= 1 or (
        recipe.schedule == "plateau" and num_drops(recipe, share_done, val_errors) > recipe.num_drops
    )


def learning_rate(initial: float, recipe: Recipe, share_done: float, val_errors: Sequence[float]) -> float:
    """The rate of the next step."""
    return initial / DROP_FACTOR ** num_drops(recipe, share_done, val_errors)
