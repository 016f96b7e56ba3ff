"""A suggested command is in the words of who asked for the runs that are there."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.plan.test_plan import config
from vgg_sweep.config.schema import Data
from vgg_sweep.plan.words import from_here, in_seeds, own_words
from vgg_sweep.runs.prune import note_asked


def asked(command: str, sweep: str = "outputs/photos", **settings: object) -> list[str] | None:
    made = replace(config("A"), data=Data("photos", "folder", root="my photos"), out="outputs/photos", seed=1)
    return own_words(command, asdict(replace(made, **settings)), sweep)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("vgg-sweep multirun data=folder 'data.root=a b' model=A,D seed=0,1", ["data=folder", "data.root=a b"]),
        ("vgg-sweep train train_scale=jitter protocol=multi precision=fp32 jobs=2", ["precision=fp32", "jobs=2"]),
        ("vgg-sweep multirun --config-dir mine recipe=quick --plan", ["--config-dir=mine", "recipe=quick"]),
        ("vgg-sweep multirun --config-dir=mine hydra/sweeper=optuna hydra.sweeper.n_trials=3", ["--config-dir=mine"]),
        ("vgg-sweep multirun hydra/launcher=slurm only='D-*'", ["hydra/launcher=slurm"]),
        ("vgg-sweep multirun crop=64,96 'width=choice(1,0.5)'", ["crop=64", "width=0.5"]),
        ("vgg-sweep multirun experiment=demo", ["experiment=demo", "sweep.grids=[]"]),
        ("vgg-sweep multirun experiment=published", ["experiment=published", "sweep.grids=[]"]),
    ],
)  # fmt: skip
def test_what_says_how_runs_are_made_is_kept(command: str, words: list[str]) -> None:
    assert asked(command, width=0.5) == words


@pytest.mark.parametrize(
    "command",
    [
        "",
        "-m vgg_sweep.work outputs/photos/A-256-s0-11111111",
        "vgg-sweep import vgg16.pth data.root=x",
        "vgg-sweep train train_scale.S=[300,300]",
        "vgg-sweep train model.columns=[conv3-8]",
        "vgg-sweep train ~model.parent",
        "vgg-sweep train --cfg job",
        "vgg-sweep multirun experiment=demo,paper",
    ],
)
def test_what_cannot_be_used_again_is_not(command: str) -> None:
    assert asked(command) is None


def test_a_sweep_that_was_moved_is_named_where_it_is() -> None:
    assert asked("vgg-sweep multirun out=outputs/photos crop=224", "elsewhere") == ["crop=224", "out=elsewhere"]
    assert asked("vgg-sweep multirun out=outputs/photos/", "outputs/photos") == ["out=outputs/photos/"]


def test_from_another_folder_paths_are_those_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, elsewhere = tmp_path / "my work", tmp_path / "elsewhere"
    for folder in (work / "outputs/photos", work / "my photos", work / "conf/model", work / "mine", elsewhere):
        folder.mkdir(parents=True)
    made = replace(config("A"), data=Data("photos", "folder", root="my photos"), out="outputs/photos")
    words = ["data=folder", "data.root='my photos'", "crop=64", "out=outputs/photos"]

    def seen_from(folder: Path, sweep: str, *more: str) -> list[str]:
        monkeypatch.chdir(folder)
        return from_here([*words, *more], asdict(made), sweep)

    assert seen_from(work, "outputs/photos") == words
    shown = seen_from(elsewhere, "../my work/outputs/photos")
    assert shown == [
        "data=folder",
        "crop=64",
        words[-1],
        "data.root=../my work/my photos",
        "--config-dir=../my work/conf",
    ]
    assert seen_from(tmp_path, "my work/outputs/photos", "--config-dir=mine")[-1] == "--config-dir=my work/mine"
    (work / "outputs").rename(elsewhere / "moved")  # nobody knows any more where the words were typed
    assert seen_from(tmp_path, "elsewhere/moved/photos") == words


def test_a_sweeps_own_command_with_other_seeds_is_for_just_its_runs(tmp_path: Path) -> None:
    note_asked(tmp_path, "vgg-sweep multirun experiment=demo out=here seed=0,1", ["A", "B"])
    assert in_seeds([2, 3], tmp_path, {"A", "B"}, ["crop=64"]) == "vgg-sweep multirun experiment=demo out=here seed=2,3"
    assert in_seeds([2], tmp_path, ["B", "A"], ["out=there"]) == "vgg-sweep multirun experiment=demo out=there seed=2"
    assert in_seeds([2], tmp_path, ["A"], []) is in_seeds([2], tmp_path / "none", [], []) is None
