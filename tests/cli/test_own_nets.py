"""Nets and recipes of one's own: docs/own-nets.md as it stands, and what is refused before anything is trained."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import typer

from tests.conftest import Outcome
from tests.forked import fork_runs
from tests.paths import ROOT
from vgg_sweep.cli.app import complete_override
from vgg_sweep.config.options import load_option
from vgg_sweep.config.vocabulary import groups
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.folders import read_run
from vgg_sweep.runs.naming import find_run
from vgg_sweep.sweep import work

Call = Callable[..., Outcome]

TINY = ("data=fractals data.fractals.num_classes=3 data.fractals.train_per_class=4 data.fractals.val_per_class=2 "
        "data.fractals.side_px=48 crop=32 width=0.03125 recipe.batch_size=6 precision=fp32 layout=nchw "
        "micro_batch=6 device=cpu").split()  # fmt: skip
CHAIN = "columns: [conv3-32, maxpool, conv3-64, maxpool, conv3-64, conv3-64, maxpool, maxpool, maxpool]\n"


def files_of_the_docs(folder: Path) -> None:
    text = (ROOT / "docs" / "own-nets.md").read_text()
    files = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n)+", text, flags=re.MULTILINE)]
    for body in files:
        if name := re.match(r"name: (.*)", body):
            group = "model" if "columns" in body else "recipe"
            write(folder, group, name[1], body)


def write(folder: Path, group: str, name: str, body: str) -> None:
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / f"{name}.yaml").write_text(body)


def test_the_example_of_the_docs_is_planned_and_trained(call: Call, tmp_path: Path) -> None:
    files_of_the_docs(tmp_path / "conf")
    plan = call("multirun", "model=A,small,D-wide", "data=fractals", "--plan")
    assert plan.exit_code == 0 and "In outputs/fractals: 3 runs, 0 done, 3 to do." in plan.out
    assert "small" in call("describe", "model=small", "data=fractals").out
    outcome = call("train", "model=small", "recipe=quick", *TINY)
    assert outcome.exit_code == 0, outcome.err
    config = read_run(find_run("small")).config
    recipe = config.recipe  # its own settings, and two of recipe=short
    assert (recipe.epochs, recipe.lr, recipe.init, recipe.pixel_max) == (12, 0.02, "he", 1.0)


def test_a_parent_of_ones_own_is_found_by_every_process(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_runs(monkeypatch)
    write(tmp_path / "mine", "model", "base", f"name: base\n{CHAIN}parent: null\n")
    write(tmp_path / "mine", "model", "kid", f"name: kid\n{CHAIN}parent: base\n")
    assert call("train", "model=kid", *TINY).exit_code == 2
    done = call("multirun", "--config-dir", "mine", "model=kid", "recipe.epochs=1", *TINY)
    assert done.exit_code == 0, done.err  # its processes read the run, and with it the parent
    assert find_run("kid").record()["copied"] == ["conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"]
    (tmp_path / "mine").rename(tmp_path / "conf")
    monkeypatch.setenv("VGG_SWEEP_CONF", "")  # as in another process
    assert load_option("model", "base").name == "base"
    assert "kid" in groups()["model"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (CHAIN.replace("conv3-32", "conv3-64") + "parent: A", "conv2_1 has another shape (3x3, 4 to 8 channels, here"),
        (CHAIN.replace("conv3-32", "conv5-64") + "parent: A", "A (`parent: A`), whose conv1_1 has another shape (3x3,"),
        (CHAIN.replace("conv3-64, conv3-64", "conv3-64") + "parent: A", "no conv3_2; write `parent: null` into the"),
        (CHAIN.replace("maxpool", "pool"), "'pool' is not a layer of Table 1"),
        (CHAIN + "parent: nobody", "model=odd starts from nobody (`parent: nobody`; with `parent: null` from random"),
        (CHAIN.replace(", maxpool]", "]") + "parent: null", "model=odd: the column has 4 maxpool"),
    ],
)
def test_what_cannot_be_is_refused_when_planned(
    call: Call, tmp_path: Path, body: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "work", None)
    write(tmp_path / "conf", "model", "odd", f"name: odd\n{body}\n")
    for line in (["train", "model=odd"], ["multirun", "model=odd", "--plan"]):
        outcome = call(*line)
        assert (outcome.exit_code, outcome.err.count("\n")) == (2, 1)
        assert sentence in outcome.err


def test_a_folder_conf_of_something_else_is_left_alone(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("not: ours\n")
    assert call("train", "--cfg", "job").exit_code == 0
    with pytest.raises(ConfigError):
        load_option("model", "odd")


def test_a_scale_whose_parent_is_not_there_is_named(call: Call, tmp_path: Path) -> None:
    write(tmp_path / "mine", "train_scale", "lost", "name: lost\nS: [300, 300]\nparent: nowhere\n")
    outcome = call("multirun", "--config-dir", "mine", "train_scale=lost", "--plan")
    sentence = "train_scale=lost starts from nowhere (`parent: nowhere`; with `parent: null` from random weights), but "
    assert outcome.exit_code == 2 and f"{sentence}train_scale=nowhere does not exist" in outcome.err


def test_a_file_goes_by_its_own_name_and_by_none_of_the_programs(call: Call, tmp_path: Path) -> None:
    write(tmp_path / "mine", "model", "odd", f"name: other\n{CHAIN}")
    write(tmp_path / "mine", "model", "nameless", CHAIN)
    write(tmp_path / "mine", "model", "A", f"name: A\n{CHAIN}")
    for models, sentence in (
        ("D,odd", "mine/model/odd.yaml calls itself other; write `name: odd` into it."),
        ("nameless", "mine/model/nameless.yaml has no name; write `name: nameless` into it."),
        ("'A'", "mine/model/A.yaml is not used, as the program has a model=A; give yours another name."),
    ):
        outcome = call("multirun", "--config-dir", "mine", f"model={models}", "--plan")
        assert (outcome.exit_code, outcome.err) == (2, f"Error: {sentence}\n")
    assert call("multirun", "--config-dir", "mine", "model=D", "data=fractals", "--plan").exit_code == 0


def test_options_of_a_folder_that_is_named_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGG_SWEEP_CONF", "")
    write(tmp_path / "mine", "model", "small", f"name: small\n{CHAIN}")
    context = typer.Context(click.Command("train"))
    context.params = {"config_dir": tmp_path / "mine"}
    assert complete_override(context, [], "model=sm") == ["model=small"]
