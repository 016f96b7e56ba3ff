import shlex
from dataclasses import asdict, replace

import pytest

from tests.plan.test_plan import config
from vgg_sweep.cli import compose
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Data, Recipe
from vgg_sweep.plan.commands import command, covers, flat, merged, multirun, settings_overrides


def test_flat() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


def test_commands_can_be_pasted() -> None:
    assert command("score", "data.root=my photos") == "vgg-sweep score 'data.root=my photos'"


def test_commands_that_differ_in_one_place_become_one() -> None:
    lines = [
        command("multirun", f"model={net}", f"train_scale={S}", "crop=64")
        for net, S in (("A", "256"), ("C", "256"), ("C", "384"), ("D", "384"), ("C", "jitter"), ("D", "jitter"))
    ]
    assert merged([*lines, "", lines[0]]) == [
        "vgg-sweep multirun model=A,C train_scale=256 crop=64",
        "vgg-sweep multirun model=C,D train_scale=384,jitter crop=64",
    ]


def test_a_net_is_made_in_each_seed_and_the_default_is_not_named() -> None:
    of_d = "vgg-sweep multirun model=D train_scale=jitter protocol=multi"
    assert multirun("D", "jitter", "protocol=multi", seeds=[0, 0]) == of_d
    assert multirun("D", "jitter", "protocol=multi", seeds=[2, 0, 2, None]) == f"{of_d} seed=0,2"


def test_merging_keeps_quotes() -> None:
    assert merged([command("multirun", "model=A", "out=a b")]) == ["vgg-sweep multirun model=A 'out=a b'"]


def test_a_wider_protocol_covers_a_narrower_one_of_the_same_runs() -> None:
    lines = [
        f"vgg-sweep multirun model={net} protocol={each}"
        for net, each in (("D", "single"), ("D", "crops"), ("D", "multi"))
    ]
    assert merged(lines) == ["vgg-sweep multirun model=D protocol=crops"]
    assert merged([*lines, "vgg-sweep multirun model=B protocol=single"]) == [
        "vgg-sweep multirun model=D protocol=crops",
        "vgg-sweep multirun model=B protocol=single",
    ]


def test_covered_protocols_are_those_of_conf() -> None:
    names = ("single", "centre", "multi", "crops", "all")
    covered = {wide: [narrow for narrow in names if covers(wide, narrow)] for wide in names}
    assert covered == {
        "single": [], "centre": ["single"], "multi": ["single"], "crops": ["single", "multi"],
        "all": ["single", "centre", "multi", "crops"],
    }  # fmt: skip
    for wide, narrow_ones in covered.items():
        for narrow in narrow_ones:
            assert set(load_option("protocol", narrow).passes) < set(load_option("protocol", wide).passes)


def test_joined_commands_are_taken_apart() -> None:
    assert merged(["a model=B && a model=C", "", "a model=C"]) == ["a model=B,C"]


def test_settings_ask_for_the_data_by_its_option_or_by_the_users_own_name() -> None:
    folder = replace(config("A"), data=Data("flowers", "folder", root="photos"))
    overrides = settings_overrides(asdict(folder), "outputs/flowers")
    assert {"data=folder", "data.name=flowers", "data.root=photos"} <= set(overrides)
    overrides = settings_overrides(asdict(config("A")), "outputs/fractals")
    assert "data=fractals" in overrides and not any(text.startswith("data.name") for text in overrides)


def test_a_recipe_that_builds_on_another_is_asked_for_by_its_name() -> None:
    """conf/recipe/fractals.yaml builds on short.yaml."""
    found: list[Config] = []
    compose.run(found.append, ["model=A", "recipe=fractals", "recipe.lr=0.01"], compose.Flags())
    given = [text for text in settings_overrides(asdict(found[0]), "outputs/fractals") if "recipe" in text]
    assert given == ["recipe=fractals", "recipe.lr=0.01"]


AWKWARD = ("a,b", "[2024] x", "x=y", "it's", 'say "no"', "fotos/größe", "C:\\new", "ends\\", "${data.name}", "\\${x}",
           " blank ", "two  blanks", "null", "True", "1e5", "007", "(a)", "{b}", "#1", "a: b", "~/x", "%Y", "a && b",
           "*?!;|", "@x", "-x")  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD)
def test_a_printed_command_is_read_back_as_the_same_configuration(text: str) -> None:
    asked = replace(
        config("A"), data=Data(f"my {text}", "folder", root=text, labels=f"{text}.txt"), out=f"sweeps/{text}"
    )
    asked.recipe = Recipe(name="short", drop_fractions=[0.25], init="glorot")
    line = command("train", "model=A", *settings_overrides(asdict(asked), asked.out))
    [printed] = merged([line, line])
    found: list[Config] = []
    compose.run(found.append, shlex.split(printed)[2:], compose.Flags())
    assert found == [asked]


def test_a_printed_command_undoes_what_an_option_sets() -> None:
    """conf/data/imagenet.yaml rounds pools up, conf/recipe/short.yaml has 8 epochs: a run may have neither."""
    asked = replace(config("A"), data=Data("imagenet", "imagenet"), recipe=Recipe(name="short"))
    overrides = settings_overrides(asdict(asked), "outputs/imagenet")
    assert {"pool_ceil=false", "recipe.epochs=74.0", "recipe.init=normal"} <= set(overrides)
    there = settings_overrides(asdict(replace(asked, pool_ceil=True)), "outputs/imagenet")
    assert not any(text.startswith("pool_ceil") for text in there)
