"""The settings in which runs differ: what a sweep varies besides nets, train scales and seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from vgg_sweep.plan import commands

FEW = 4
"""More settings than this have no columns of their own beside a run: they come with another recipe or data set."""

Settings = Mapping[str, Any]
"""Of a run, by dotted name, as far as they are no default: `commands.settings`."""


def all_settings(runs: Sequence[Settings]) -> list[dict[str, Any]]:
    """The value of every setting that is no default in some run, for each run; by name, in one order for all. A run
    that classifies has none of those of boxes.
    """
    names = sorted({name for each in runs for name in each})
    defaults = {n: "" if n.startswith(commands.OF_BOXES) else commands.schema_defaults().get(n) for n in names}
    return [{name: each.get(name, defaults[name]) for name in names} for each in runs]


def differing_settings(runs: Sequence[Settings]) -> list[dict[str, Any]]:
    """The same, of those settings only that have several values among the runs that have them."""
    values = all_settings(runs)
    several = [name for name in (values[0] if values else ()) if len({str(each[name]) for each in values} - {""}) > 1]
    return [{name: each[name] for name in several} for each in values]


def come_with_recipe(runs: Sequence[Settings], recipes: Sequence[str]) -> set[str]:
    """The settings of the recipe that are the same in all runs with a recipe of one name, of several: it says them."""
    of_each = [[run for run, name in zip(runs, recipes, strict=True) if name == each] for each in set(recipes)]
    names = {name for run in runs for name in run if name.startswith("recipe.")} if len(of_each) > 1 else set()
    return {name for name in names if all(len({str(run.get(name)) for run in alike}) == 1 for alike in of_each)}


def settings_to_show(runs: Sequence[Settings], recipes: Sequence[str]) -> list[dict[str, Any]]:
    """The settings that a line of a run has room for: those that are swept over, if they are few, and of those that
    come with a recipe its name. What a run starts from is in its id.
    """
    values = differing_settings([{name: value for name, value in run.items() if name != "start_from"} for run in runs])
    if said := come_with_recipe(values, recipes):
        values = [
            {"recipe": recipe} | {name: value for name, value in run.items() if name not in said}
            for run, recipe in zip(values, recipes, strict=True)
        ]
    return values if values and len(values[0]) <= FEW else [{} for _ in values]
