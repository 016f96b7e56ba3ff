"""When checkpoints are written, what a full disk does, and what is taken for whole."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tiny import RECIPE, tiny_config, tiny_run
from tests.train.test_train import StopAt, equal, materials, trained
from vgg_sweep.errors import RunError
from vgg_sweep.plan.folders import prepare
from vgg_sweep.runs.progress import Interrupted
from vgg_sweep.sweep.work import work
from vgg_sweep.train import checkpoints as module
from vgg_sweep.train.checkpoints import Checkpoints, checkpoint_files
from vgg_sweep.train.train import train


def test_they_are_due_by_steps_minutes_and_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    run = tiny_run(tmp_path, checkpoint_every_steps=5, checkpoint_every_minutes=2.0)
    checkpoints = Checkpoints(run.folder, run.config)
    assert [step for step in range(1, 12) if checkpoints.is_due(step, epoch_ends=False)] == [5, 10]
    assert checkpoints.is_due(3, epoch_ends=True)
    now = 219.9
    assert not checkpoints.is_due(3, epoch_ends=False)
    now = 220.0
    assert checkpoints.is_due(3, epoch_ends=False)
    checkpoints._cost_seconds = 2.4  # is exactly 2 % of the two minutes
    assert checkpoints.is_due(4, epoch_ends=True)
    checkpoints._cost_seconds = 2.5
    monkeypatch.setattr(checkpoints, "_config", tiny_config(tmp_path))
    assert not checkpoints.is_due(4, epoch_ends=True)
    checkpoints.close()


def test_two_are_kept_and_written_behind_the_training(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, checkpoint_every_steps=1)
    prepare(run)
    with pytest.raises(Interrupted):
        train(run, *materials(run), StopAt(run, 7))
    assert [path.name for path in checkpoint_files(run.folder)] == ["step-000000007.pt", "step-000000006.pt"]
    assert not list(run.folder.checkpoints.glob(".*"))
    train(run, *materials(run), StopAt(run))
    record = run.folder.record()
    assert 0 < record["checkpoint_seconds"] < record["train_seconds"]


def test_what_a_killed_process_left_unfinished_is_removed(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, recipe=replace(RECIPE, epochs=1.0))
    prepare(run)
    run.folder.checkpoints.mkdir()
    unfinished = [
        run.folder.checkpoints / ".step-000000003.pt.0a1b2c3d",
        run.folder.path / ".weights.safetensors.kuv98z6h",
    ]
    for path in unfinished:
        path.write_bytes(b"half")
    work(run, live=False)
    assert run.folder.is_trained
    assert not any(path.exists() for path in unfinished)


def full_after(monkeypatch: pytest.MonkeyPatch, what: str, num_files: int) -> None:
    """The disk takes `num_files` files with `what` in their names, then a part of one."""
    original = Path.write_bytes
    written = []

    def write_bytes(path: Path, content: bytes) -> int:
        if what in path.name:
            written.append(path)
            if len(written) > num_files:
                original(path, bytes(content)[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return original(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


@pytest.mark.parametrize(("what", "num_files"), [("step-", 0), ("step-", 2), ("000000000.npy", 1)])
def test_a_full_disk_is_a_sentence_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, num_files: int
) -> None:
    whole = trained(tiny_run(tmp_path / "whole"))
    run = tiny_run(tmp_path / "full", recipe=replace(RECIPE, batch_size=7), checkpoint_every_steps=1)
    prepare(run)
    with monkeypatch.context() as patch:
        full_after(patch, what, num_files)
        with pytest.raises(RunError, match=r"^the disk is full \(\[Errno 28\] .*\); free some space; the same"):
            work(run, live=False)
    assert run.folder.status()["state"] == "failed"
    assert len(checkpoint_files(run.folder)) == (num_files if what == "step-" else 0)
    assert not list(run.folder.path.rglob(".step-*"))
    work(run, live=False)
    assert run.folder.status()["state"] == "done"
    assert equal(whole, load_file(run.folder.weights))


def test_a_checkpoint_of_one_more_broken_is_passed_over_and_removed(tmp_path: Path) -> None:
    whole = trained(tiny_run(tmp_path / "whole"))
    run = tiny_run(tmp_path / "broken", checkpoint_every_steps=1)
    prepare(run)
    with pytest.raises(Interrupted):
        train(run, *materials(run), StopAt(run, 5))
    for path in checkpoint_files(run.folder):
        path.write_bytes(b"")
    train(run, *materials(run), StopAt(run))
    assert run.folder.log.read_text().count("is broken") == 2
    assert equal(whole, load_file(run.folder.weights))


def test_a_checkpoint_with_a_flipped_bit_is_named_and_passed_over(tmp_path: Path) -> None:
    whole = trained(tiny_run(tmp_path / "whole"))
    run = tiny_run(tmp_path / "flipped", checkpoint_every_steps=1)
    prepare(run)
    with pytest.raises(Interrupted):
        train(run, *materials(run), StopAt(run, 5))
    newest = checkpoint_files(run.folder)[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    train(run, *materials(run), StopAt(run))
    assert f"{newest.name} is broken" in run.folder.log.read_text()
    assert equal(whole, load_file(run.folder.weights))
