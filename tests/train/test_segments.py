"""A run goes on in the arithmetic in which it began, and the record has every change of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import tiny_run
from tests.train.test_train import StopAt, materials
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.machine.choices import FASTEST
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.progress import Interrupted
from vgg_sweep.train import segments
from vgg_sweep.train.segments import training_choice
from vgg_sweep.train.train import train


def stopped(run: Run, precision: str, at: int) -> None:
    """Train `run` in `precision` until a signal comes after `at` steps."""
    prepare(run)
    images, figures, _ = materials(run)
    hardware = choose_hardware(replace(run.config, precision=precision))
    with pytest.raises(Interrupted):
        train(run, images, figures, hardware, StopAt(run, at))


def open_run(tmp_path: Path) -> Run:
    return tiny_run(tmp_path, precision="auto")


@pytest.mark.parametrize("fast", ["fp32", "bf16"])
def test_a_run_goes_on_in_what_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    monkeypatch.setenv(FASTEST, fast)
    run = open_run(tmp_path)
    assert training_choice(run, 3, lambda text: None).way.precision == fast
    begun_in = {"fp32": "bf16", "bf16": "fp32"}[fast]
    stopped(run, begun_in, 3)
    assert training_choice(run, 3, lambda text: None).way.precision == begun_in
    monkeypatch.setattr(segments, "hardware_name", lambda device: "another machine")
    assert training_choice(run, 3, lambda text: None).way.precision == begun_in


def test_without_a_checkpoint_a_run_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FASTEST, "fp32")
    run = open_run(tmp_path)
    stopped(run, "bf16", 3)
    for path in run.folder.checkpoints.iterdir():
        path.unlink()
    assert training_choice(run, 3, lambda text: None).way.precision == "fp32"


def test_a_precision_that_is_not_to_be_had_where_it_goes_on_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("precision=bf16 cannot be computed")

    run = open_run(tmp_path)
    stopped(run, "bf16", 3)
    monkeypatch.setattr(segments, "hardware_name", lambda device: "another machine")
    monkeypatch.setattr(segments, "fastest_choice", refuse)
    with pytest.raises(RunError, match=r"began in bf16 on CPU, .* continue it where it began, or remove .*checkpoints"):
        training_choice(run, 3, lambda text: None)


def test_every_segment_is_recorded(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    stopped(run, "bf16", 3)
    stopped(run, "bf16", 5)
    stopped(run, "fp32", 7)
    images, figures, _ = materials(run)
    train(run, images, figures, choose_hardware(replace(run.config, precision="fp32")), StopAt(run))
    record = run.folder.record()
    assert [(each["from_step"], each["precision"]) for each in record["segments"]] == [(0, "bf16"), (5, "fp32")]
    assert record["precision"] == "bf16 then fp32"
    assert {"layout", "tf32", "micro_batch", "device_name", "chosen_from"} <= record["segments"][0].keys()


def test_a_run_that_begins_anew_forgets_its_segments(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    stopped(run, "bf16", 3)
    for path in run.folder.checkpoints.iterdir():
        path.unlink()
    stopped(run, "fp32", 2)
    assert [each["precision"] for each in run.folder.record()["segments"]] == ["fp32"]
