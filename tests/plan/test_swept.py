from vgg_sweep.plan.commands import settings
from vgg_sweep.plan.swept import FEW, all_settings, come_with_recipe, differing_settings, settings_to_show


def test_what_runs_differ_in_and_what_some_of_them_change() -> None:
    """The default of recipe.lr is 0.01, of width 1.0."""
    runs = [{"recipe.lr": 0.02, "width": 0.5}, {"width": 0.5}, {"width": 0.5, "recipe.lr": 0.02}]
    assert all_settings(runs) == [
        {"recipe.lr": 0.02, "width": 0.5},
        {"recipe.lr": 0.01, "width": 0.5},
        {"recipe.lr": 0.02, "width": 0.5},
    ]
    assert differing_settings(runs) == [{"recipe.lr": 0.02}, {"recipe.lr": 0.01}, {"recipe.lr": 0.02}]
    assert (
        differing_settings(runs[:1]) == [{}]
        and differing_settings([]) == all_settings([]) == settings_to_show([], []) == []
    )


def test_lists_are_compared_as_a_whole() -> None:
    fractions = [[0.5, 0.75], [0.5], [0.5, 0.75]]
    assert [
        each["recipe.drop_fractions"] for each in differing_settings([{"recipe.drop_fractions": f} for f in fractions])
    ] == (fractions)


def test_many_settings_have_no_columns() -> None:
    names = ("recipe.lr", "recipe.dropout", "recipe.momentum", "recipe.epochs", "recipe.batch_size")
    assert settings_to_show([dict.fromkeys(names[:FEW], 0.3), {}], ["mine", "mine"])[0] == dict.fromkeys(
        names[:FEW], 0.3
    )
    assert settings_to_show([dict.fromkeys(names, 0.3), {}], ["mine", "mine"]) == [{}, {}]


def test_settings_of_boxes_are_of_runs_that_localise() -> None:
    """Also where they are the default, 0.001."""
    config = {"crop": 64, "localise": {"lr": 0.001, "epochs": 5.0}}
    classifies, localises = settings(config | {"task": "classify"}), settings(config | {"task": "localise"})
    quick = settings(config | {"task": "localise", "localise": {"lr": 0.02, "epochs": 5.0}})
    assert [each["localise.lr"] for each in differing_settings([classifies, localises, quick])] == ["", 0.001, 0.02]
    assert differing_settings([classifies, localises]) == [{}, {}]
    assert differing_settings([localises, quick]) == [{"localise.lr": 0.001}, {"localise.lr": 0.02}]


def test_a_recipe_says_what_comes_with_it() -> None:
    """Dropout and rate are those of the recipes; one run of `short` was given other epochs, which that does not say."""
    short = {"recipe.lr": 0.008, "recipe.dropout": 0.0, "width": 0.5, "start_from": "a/b"}
    runs = [short, short | {"recipe.epochs": 9.0}, {"width": 0.25}]
    recipes = ["short", "short", "paper"]
    assert come_with_recipe(all_settings(runs), recipes) == {"recipe.lr", "recipe.dropout"}
    assert settings_to_show(runs, recipes) == [
        {"recipe": "short", "recipe.epochs": 74.0, "width": 0.5},
        {"recipe": "short", "recipe.epochs": 9.0, "width": 0.5},
        {"recipe": "paper", "recipe.epochs": 74.0, "width": 0.25},
    ]
    assert come_with_recipe(all_settings(runs), ["short"] * 3) == set()
