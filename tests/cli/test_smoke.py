"""`multirun --smoke`: a few steps of each run on a sample, kept nowhere; and a plan without the images."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.conftest import Outcome
from tests.forked import fork_runs
from tests.tiny import FRACTALS, tiny_config
from vgg_sweep.cli.plans import STEPS, _num_steps, smoke, smoke_table
from vgg_sweep.config.options import load_option
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.splits import sampled
from vgg_sweep.plan.runs import plan
from vgg_sweep.sweep.agenda import Agenda

Call = Callable[..., Outcome]

TINY = ("data=fractals data.fractals.num_classes=3 data.fractals.train_per_class=4 data.fractals.val_per_class=2 "
        "data.fractals.side_px=48 crop=32 width=0.03125 recipe.batch_size=6 recipe.epochs=50 precision=fp32 "
        "layout=nchw micro_batch=6 device=cpu").split()  # fmt: skip


def test_a_sample_has_every_class_and_the_same_images(tmp_path: Path) -> None:
    images = open_images(tiny_config(tmp_path), None)
    few = sampled(images, 6, 100)
    assert len(few.train) == 6 and len(few.val) == len(images.val)
    assert set(few.train.labels_N) == {0, 1, 2} and few.classes == images.classes
    assert few.fingerprint != images.fingerprint
    for index, id in enumerate(few.train.ids):
        place = list(images.train.ids).index(id)
        assert images.train.labels_N[place] == few.train.labels_N[index]
        assert np.array_equal(np.asarray(few.train.image(index)), np.asarray(images.train.image(place)))


def test_a_whole_run_is_foretold_by_its_own_steps(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    [full], [tried] = plan([config]), plan([smoke(config)])
    assert tried.id != full.id and tried.folder.path.parent == Path(config.out) / ".smoke"
    steps_an_epoch = -(-FRACTALS.num_classes * FRACTALS.train_per_class // config.recipe.batch_size)
    assert _num_steps(full, tried) == steps_an_epoch * config.recipe.epochs
    [capped] = plan([replace(config, recipe=replace(config.recipe, max_steps=5))])
    assert _num_steps(capped, tried) == 5


def test_every_run_is_tried_and_nothing_is_left(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_runs(monkeypatch)
    outcome = call("multirun", "model=A", "--smoke", *TINY)
    assert outcome.exit_code == 0, outcome.err
    *_, line = outcome.out.splitlines()
    assert line.startswith("A-256-s0-") and " done " in line and line.endswith("%")
    assert [word for word in outcome.out.split() if word.startswith("A-256-s0-")] == [line.split()[0]] * 4  # the plan's
    assert list((tmp_path / "outputs" / "fractals").iterdir()) == []
    assert STEPS == 20


def test_what_waits_for_a_run_that_failed_is_blocked(tmp_path: Path) -> None:
    config = smoke(replace(tiny_config(tmp_path), model=load_option("model", "B")))
    agenda = Agenda(plan([config]), retries=0)
    agenda.runs[0].folder.path.mkdir(parents=True)
    agenda.runs[0].folder.fail("no memory", "no memory")
    assert list(agenda.ready()) == []
    console = Console(file=io.StringIO(), width=80)
    console.print(smoke_table(agenda, agenda.runs))
    _, *lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[1] for line in lines] == ["failed", "blocked"]


def test_a_plan_is_made_without_the_images(call: Call) -> None:
    for words in (["experiment=paper"], ["data=folder", "data.root=nowhere"]):
        outcome = call("multirun", "--plan", *words)
        assert outcome.exit_code == 0, outcome.err
        assert "12 runs, 0 done, 12 to do." in outcome.out and "data.root=" in outcome.out
