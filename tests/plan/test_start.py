"""start_from in a plan: the parent wherever it lies, what is taken from it, ids, and a sentence for what cannot be."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.tiny import IMPORTED, random_run, tiny_config, with_batch_norm
from vgg_sweep.config.imported import Imported
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.commands import settings
from vgg_sweep.plan.folders import prepare, read_named, read_run
from vgg_sweep.plan.runs import plan
from vgg_sweep.plan.start import adopted
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.naming import find_run, slug
from vgg_sweep.sweep.agenda import Agenda, found_state


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def parent(tmp_path: Path) -> RunFolder:
    return random_run(tmp_path, "D", out="outputs/theirs")


def child(parent: RunFolder | str, **changed: object) -> Config:
    """A configuration of another sweep that starts from `parent`."""
    word = parent if isinstance(parent, str) else str(parent.path)
    config = tiny_config(Path(), "D", crop=64, out="outputs/mine", start_from=word)
    return replace(config, **changed)  # type: ignore[arg-type]


def test_a_parent_is_planned_and_done_though_nobody_scored_it(parent: RunFolder) -> None:
    there, run = plan([child(parent)])
    assert (there.id, there.folder.path, run.parent) == (parent.id, parent.path, there)
    assert there.is_at_hand and found_state(there) == "done" and found_state(run) == "new"
    assert list(Agenda([there, run]).ready()) == [run]


def test_the_id_and_the_name_say_which_run_it_is_from(parent: RunFolder) -> None:
    run = plan([child(parent)])[-1]
    assert run.id.startswith("D-256-from-D-256-s0-s0-") and slug(run.id) == "D-256-from-D-256-s0"
    assert settings(asdict(run.config))["start_from"] == parent.id
    plain = plan([child(parent, start_from=None, warm_start="none")])[-1]
    assert "start_from" not in settings(asdict(plain.config)) and plain.id != run.id


@pytest.mark.parametrize("word", ["D-256", "D-256-s0", "theirs/D-256", "outputs/theirs/D-256"])
def test_a_slug_an_id_and_a_folder_name_the_same_run(parent: RunFolder, word: str) -> None:
    ids = {plan([child(name)])[-1].id for name in (word, parent.id, str(parent.path), str(parent.path.resolve()))}
    assert len(ids) == 1


def test_two_parents_make_two_runs(parent: RunFolder, tmp_path: Path) -> None:
    other = random_run(tmp_path, "D", out="outputs/theirs", seed=1)
    runs = plan([child(parent), child(other), child(parent)])
    assert len({run.id for run in runs}) == len(runs) == 4


def test_a_run_goes_on_being_itself_where_its_parent_has_moved_or_is_gone(parent: RunFolder) -> None:
    run = plan([child(parent)])[-1]
    folder = prepare(run)
    moved = Path("outputs/elsewhere") / parent.id
    moved.parent.mkdir()
    shutil.move(parent.path, moved)
    again = read_named(folder)
    assert again.id == run.id and again.parent is not None and again.parent.folder.path == moved
    shutil.rmtree(moved)
    alone = read_named(folder)
    assert alone.id == run.id and alone.parent is not None and alone.parent.id == parent.id
    with pytest.raises(ConfigError, match="start_from=.* is neither the folder nor the name of a run"):
        plan([child(parent)])


def test_a_parent_that_is_not_trained_yet_is_trained_before(tmp_path: Path) -> None:
    theirs = [prepare(run) for run in plan([tiny_config(tmp_path, "D", "384", crop=64, out="outputs/theirs")])]
    runs = plan([child(theirs[-1])])
    assert [run.id for run in runs[:-1]] == [folder.id for folder in theirs]
    assert not any(run.is_at_hand for run in runs) and list(Agenda(runs).ready()) == [runs[0]]
    assert read_run(runs[2].folder).config.protocol.passes  # what it was asked for itself is kept
    assert prepare(runs[2]) == theirs[2] and read_run(theirs[2]).config.protocol.passes == ["dense@single"]


def test_what_belongs_to_the_layers_is_taken_unless_it_is_named(tmp_path: Path) -> None:
    parent = random_run(tmp_path, "A", out="outputs/theirs", width=1 / 16, pool_ceil=True, crop=96)
    config = child(parent)
    taken = adopted(config, {"start_from"})
    assert (taken.model.name, taken.width, taken.crop, taken.pool_ceil) == ("A", 1 / 16, 96, True)
    named = adopted(config, {"start_from", "model", "crop"})
    assert (named.model.name, named.width, named.crop, named.pool_ceil) == ("D", 1 / 16, 64, True)
    assert adopted(replace(config, start_from=None), set()) == replace(config, start_from=None)


def test_any_crop_suits_a_trunk_and_a_normalised_net_has_no_other_name(tmp_path: Path) -> None:
    trunk = {**IMPORTED, "imported": Imported(sha256="0" * 64, source="oxford", trunk=True)}
    parent = random_run(tmp_path, with_batch_norm("D"), out="outputs/theirs", crop=224, **trunk)
    taken = adopted(child(parent), {"start_from", "model"})
    assert taken.crop == 64 and taken.model.name == "D-BN" and "BN" in taken.model.columns
    assert plan([taken])[-1].id.startswith("D-BN-256-from-D-BN-256-00000000-s0-")


def test_what_is_trained_and_both_rates_are_in_the_id(parent: RunFolder) -> None:
    config = child(parent)
    lr, fine_tune_lr = (
        replace(config, recipe=replace(config.recipe, **{name: 0.5})) for name in ("lr", "fine_tune_lr")
    )
    epochs = replace(config, recipe=replace(config.recipe, epochs=99))
    variants = [config, lr, fine_tune_lr, replace(config, trainable="fc"), replace(config, trainable="last"), epochs]
    ids = [plan([each])[-1].id for each in variants]
    assert len(set(ids)) == 5 and ids[0] == ids[-1]
    run = plan([config])[-1]
    assert (run.epochs, run.lr) == (config.recipe.fine_tune_epochs, config.recipe.fine_tune_lr)


def test_a_run_named_otherwise_than_its_settings_say_is_refused(parent: RunFolder) -> None:
    renamed = parent.path.with_name("best")
    parent.path.rename(renamed)
    with pytest.raises(ConfigError, match=f"start_from={renamed} has another name than its run, {parent.id}; name it"):
        plan([child(str(renamed))])


def wrong(**changed: object) -> Callable[[RunFolder], Config]:
    return lambda parent: child(parent, **changed)


WRONG: dict[str, tuple[Callable[[RunFolder], Config], str]] = {
    "width": (wrong(width=1 / 16), "width=0.0625, but D-256-s0-.* has width=0.03125, so none of its layers fits"),
    "pool_ceil": (wrong(pool_ceil=True), "pool_ceil=true, but the layers of D-256-s0-.* were trained with false"),
    "batch normalisation": (
        wrong(model=with_batch_norm("D")),
        "model=D-BN is with batch normalisation and D-256-s0-.* without, .* give model=D",
    ),
    "nothing": (wrong(start_from=" "), "start_from= names no run; give a run's folder, its id or a slug"),
    "a typing error": (wrong(start_from="outputs/theirs/D-265"), "start_from=.*D-265 is neither .*did you mean"),
    "a sweep": (wrong(start_from="outputs/theirs"), "start_from=.*theirs is neither .*it holds the folders of 1 run"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_a_sentence(parent: RunFolder, what: str) -> None:
    make, sentence = WRONG[what]
    with pytest.raises(ConfigError, match=sentence):
        plan([make(parent)])


def test_a_file_and_several_runs_are_a_sentence(parent: RunFolder, tmp_path: Path) -> None:
    Path("vgg16.pth").touch()
    with pytest.raises(ConfigError, match="start_from=vgg16.pth is a file; `vgg-sweep import vgg16.pth` makes a run"):
        plan([child("vgg16.pth")])
    random_run(tmp_path, "D", out="outputs/others", seed=1)
    with pytest.raises(ConfigError, match="start_from=D-256 may be .* or .*; name one of them"):
        plan([child("D-256")])
    parent.config.write_text("model: [")
    with pytest.raises(RunError, match="(?s)is not a whole configuration .*start from another run"):
        plan([child(parent)])


def test_layers_that_stay_need_something_to_stay_as() -> None:
    with pytest.raises(ConfigError, match="trainable=last leaves the other layers as they begin, which is at random"):
        plan([tiny_config(Path(), "D", warm_start="none", trainable="last")])
    A, D = plan([tiny_config(Path(), "D", trainable="fc")])  # the paper's own parent will do
    assert (A.trainable, D.trainable) == ("all", "fc")
    fc = load_option("train_scale", "jitter-fc")
    assert plan([tiny_config(Path(), "D", "jitter-fc", trainable="fc")])[-1].trainable == fc.trainable


def test_the_command_says_so(call: Callable[..., Outcome], parent: RunFolder) -> None:
    words = ("train", f"start_from={parent.path}", "data=fractals", "crop=64", "width=0.03125")
    assert "contradict each other" in call(*words, "warm_start=none").err
    assert call("train", "start_from=D-999").err.startswith(
        "Error: start_from=D-999 is neither the folder nor the name of a run"
    )
    assert "is for nets that are trained" in call("score", *words[1:], "imported.sha256=00").err
    plan_of_two = call("multirun", "--plan", "start_from=D-256", "model=D", "data=fractals", "seed=0,1")
    assert plan_of_two.exit_code == 0 and "3 runs, 1 done, 2 to do" in plan_of_two.out
    assert plan_of_two.out.count("D-256-from-D-256-s0") == 2 and find_run("D-256").id == parent.id


def test_several_starts_in_one_sweep(call: Callable[..., Outcome], parent: RunFolder, tmp_path: Path) -> None:
    other = random_run(tmp_path, "A", out="outputs/theirs")
    words = ("multirun", "--plan", f"start_from={parent.id},{other.id}", "data=fractals", "crop=64")
    outcome = call(*words)
    assert "4 runs, 2 done, 2 to do" in outcome.out, outcome.err
    assert "D-256-from-D-256-s0-s0" in outcome.out and "A-256-from-A-256-s0-s0" in outcome.out
