"""Plans: the chain of Sect. 3.1, ids decided by what decides the result, refusals."""

from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from vgg_sweep.config import options
from vgg_sweep.config.localise import Localise
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Data, Recipe, TrainScale
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import plan


def config(
    model: str = "D",
    train_scale: str = "256",
    protocol: str = "single",
    **settings: object,
) -> Config:
    return Config(
        model=load_option("model", model),
        train_scale=load_option("train_scale", train_scale),
        recipe=Recipe(name="test"),
        data=Data(name="fractals", source="fractals"),
        protocol=load_option("protocol", protocol),
        **{"crop": 64, "out": "outputs/test", **settings},  # type: ignore[arg-type]
    )


def names(configs: list[Config]) -> list[str]:
    return [f"{run.config.model.name}/{run.config.train_scale.name}" for run in plan(configs)]


def test_the_chain_of_a_jittered_net() -> None:
    runs = plan([config("D", "jitter")])
    assert [run.id.rsplit("-", 2)[0] for run in runs] == [
        "A-256",
        "D-256",
        "D-384",
        "D-jitter",
    ]
    assert [run.parent for run in runs] == [None, *runs[:-1]]
    assert [run.fine_tunes for run in runs] == [False, False, True, True]
    assert [run.lr for run in runs] == [0.01, 0.01, 0.001, 0.001]


def test_parents_are_shared_and_come_first() -> None:
    assert names([config("D", "jitter"), config("E", "jitter")]) == [
        "A/256", "D/256", "D/384", "D/jitter", "E/256", "E/384", "E/jitter",
    ]  # fmt: skip


def test_a_parent_is_scored_simply_unless_asked_for() -> None:
    parent, child = plan([config("B", protocol="multi")])
    assert parent.config.protocol.passes == ["dense@single"]
    assert child.config.protocol.passes == ["dense@single", "dense@multi"]


def test_the_same_run_under_two_protocols_is_one_run_with_both() -> None:
    runs = plan([config("A", protocol="centre"), config("A", protocol="multi")])
    assert len(runs) == 1
    assert runs[0].config.protocol.passes == [
        "dense@single",
        "centre-crop@single",
        "dense@multi",
    ]


def test_without_warm_start_a_run_stands_alone() -> None:
    assert names([config("E", "jitter", warm_start="none")]) == ["E/jitter"]


def test_the_id_changes_with_what_decides_the_result_and_only_then() -> None:
    def id_of(**settings: object) -> str:
        return plan([config("B", **settings)])[-1].id

    same = id_of()
    for setting in (
        {"device": "cpu"},
        {"workers": 7},
        {"precision": "auto"},
        {"out": "elsewhere"},
        {"jobs": "3"},
        {"threads": 1},
    ):
        assert id_of(**setting) == same, setting
    different = [
        id_of(seed=1),
        id_of(width=0.5),
        id_of(crop=96),
        id_of(warm_start="none"),
        id_of(pool_ceil=True),
        id_of(precision="fp32"),
        id_of(precision="bf16"),
        id_of(tf32=True),
        id_of(deterministic=True),
    ]
    assert len({same, *different}) == 10
    assert same == "B-256-s0-886c8bdc", "a run made before arithmetic entered ids is still known"


def test_a_change_of_the_parent_changes_the_child_but_fine_tuning_settings_leave_the_parent_alone() -> None:
    base = config("D", "384")
    changed = replace(base, recipe=replace(base.recipe, fine_tune_lr=0.5))
    before, after = plan([base]), plan([changed])
    assert [run.id for run in before[:2]] == [run.id for run in after[:2]]
    assert before[2].id != after[2].id
    longer = replace(base, recipe=replace(base.recipe, epochs=75.0))
    assert not {run.id for run in before} & {run.id for run in plan([longer])}


def test_ids_need_no_quoting() -> None:
    for run in plan([config("A-LRN", "jitter", seed=12)]):
        assert not set("=, []()/") & set(run.id)


def test_an_unknown_parent_is_refused_by_name() -> None:
    orphan = config("D")
    orphan.model = replace(orphan.model, parent="Z")
    with pytest.raises(ConfigError, match="model=Z does not exist; choose one of A,"):
        plan([orphan])


def test_a_circle_of_parents_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for group in ("protocol", "model"):
        (tmp_path / group).symlink_to(options.conf_dir() / group)
    (tmp_path / "train_scale").mkdir()
    for name, parent in (("one", "two"), ("two", "one")):
        (tmp_path / "train_scale" / f"{name}.yaml").write_text(f"name: {name}\nS: [256, 256]\nparent: {parent}\n")
    circular = config("A")
    monkeypatch.setattr(options, "conf_dir", lambda: tmp_path)
    monkeypatch.setattr(HydraConfig, "initialized", lambda: False)  # it is where another test called Hydra before
    circular.train_scale = TrainScale("one", [256, 256], parent="two")
    with pytest.raises(ConfigError, match="A/one.*A/two.*start from one another"):
        plan([circular])


def test_a_net_that_localises_is_the_child_of_the_one_that_classifies() -> None:
    """Of the same train scale, whose id it leaves as it was; rates and budgets are its own."""
    runs = plan([config("D", "384", task="localise", boxes="scr", localise=Localise(epochs=5))])
    assert [run.id.rsplit("-", 2)[0] for run in runs] == ["A-256", "D-256", "D-384", "D-384-scr"]
    assert [run.id for run in runs[:-1]] == [run.id for run in plan([config("D", "384")])]
    assert runs[-1].parent == runs[-2]
    assert (runs[-1].epochs, runs[-1].lr) == (5, 0.001)
    [alone] = plan([config("D", "384", task="localise", warm_start="none")])
    assert alone.id.startswith("D-384-pcr-s0-")


def test_what_decides_the_id_of_a_net_that_localises() -> None:
    def id(**settings: object) -> str:
        return plan([replace(config("D", "384", task="localise"), **settings)])[-1].id  # type: ignore[arg-type]

    other_recipe = Recipe(name="test", momentum=0.8)
    assert len({id(), id(boxes="scr"), id(localise=Localise(outside="clip")), id(recipe=other_recipe)}) == 4


def test_boxes_are_predicted_from_the_centre_crop_under_every_protocol() -> None:
    run = plan([config("D", "384", "multi", task="localise")])[-1]
    assert [each.name for each in passes(run.config)] == ["centre-crop-Q110-flip0", *(
        f"dense-Q{Q}-flip{flip}" for Q in (101, 110, 119) for flip in (0, 1)
    )]  # fmt: skip
