"""One run from lock to done, killed and continued as a user's would be."""

import os
import signal
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.forked import FORKED, start_worker
from tests.tiny import RECIPE, tiny_config, tiny_run
from tests.train.test_train import equal
from vgg_sweep.errors import RunError
from vgg_sweep.machine.choices import FASTEST
from vgg_sweep.plan.folders import prepare, read_run, run_in_folder
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.protocols.seals import unsealed_yaml
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunLocked
from vgg_sweep.runs.progress import STOP_SIGNALS, Interrupted
from vgg_sweep.sweep.work import main, work
from vgg_sweep.train.checkpoints import checkpoint_files


def wait_until_it_trains(run: Run, worker: BaseProcess) -> None:
    deadline = time.monotonic() + 60
    while True:
        status = run.folder.status()
        if status.get("pid") == worker.pid and status.get("stage") == "train":
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.01)


def test_a_chain_ends_done_with_weights_and_posteriors(tmp_path: Path) -> None:
    for run in plan([tiny_config(tmp_path, "C", "384")]):
        prepare(run)
        work(run, live=False)
        assert run.folder.status()["state"] == "done"
        assert run.folder.is_trained and (run.folder.posteriors / "manifest.json").exists()
        assert not run.folder.error.exists()


def test_a_run_does_without_torchs_compiler(tmp_path: Path) -> None:
    """Whose import would take two seconds of it."""
    run = tiny_run(tmp_path)
    prepare(run)
    worker = FORKED.Process(target=work_and_tell_of_compiler, args=(run.folder.path,))
    worker.start()
    worker.join(120)
    assert run.folder.is_trained and worker.exitcode == 0


def work_and_tell_of_compiler(folder: Path) -> None:
    main(folder)
    sys.exit("torch._dynamo" in sys.modules)


@pytest.mark.parametrize("fastest", ["fp32", "bf16"])
def test_what_is_left_open_is_trained_in_the_fastest_precision_and_scored_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fastest: str
) -> None:
    monkeypatch.setenv(FASTEST, fastest)
    run = tiny_run(tmp_path, precision="auto", layout="auto")
    prepare(run)
    work(run, live=False)
    assert run.folder.record()["precision"] == fastest
    files = read_json(run.folder.posteriors / "manifest.json")["files"]
    assert files and {each["precision"] for each in files} == {"fp32"}


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    prepare(run)
    work(run, live=False)
    before = run.folder.weights.stat().st_mtime_ns
    work(run, live=False)
    assert run.folder.weights.stat().st_mtime_ns == before


def test_a_finished_run_whose_weights_have_changed_is_not_called_done(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    prepare(run)
    work(run, live=False)
    content = bytearray(run.folder.weights.read_bytes())
    content[-5] ^= 1
    run.folder.weights.write_bytes(content)
    with pytest.raises(RunError, match=r"weights\.safetensors is damaged .* remove only this file"):
        work(run, live=False)
    content[-5] ^= 1
    run.folder.weights.write_bytes(content)
    work(run, live=False)


def test_killed_or_asked_to_stop_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=60.0, lr=0.01, validate_epochs=20.0)
    whole = tiny_run(tmp_path / "whole", recipe=recipe)
    prepare(whole)
    work(whole, live=False)
    pieces = tiny_run(tmp_path / "pieces", recipe=recipe, checkpoint_every_steps=1)  # so most kills come while saving
    prepare(pieces)
    for number, exit_code in ((signal.SIGKILL, -9), (signal.SIGKILL, -9), (signal.SIGINT, 130)):
        worker = start_worker(pieces.folder.path)
        wait_until_it_trains(pieces, worker)
        os.kill(worker.pid, number)
        worker.join(60)
        assert worker.exitcode == exit_code
        assert pieces.folder.status()["state"] == "interrupted"
    worker = start_worker(pieces.folder.path)
    worker.join(120)
    assert worker.exitcode == 0, pieces.folder.log.read_text()
    assert equal(load_file(whole.folder.weights), load_file(pieces.folder.weights))
    for file in whole.folder.posteriors.glob("*.npy"):
        assert file.read_bytes() == (pieces.folder.posteriors / file.name).read_bytes()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_signal_that_warns_saves_the_step_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    run = tiny_run(tmp_path, recipe=replace(RECIPE, epochs=1e6))
    prepare(run)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
    signal.setitimer(signal.ITIMER_REAL, 0.8)
    with pytest.raises(Interrupted, match=f"stopped by {number.name}"):
        work(run, live=False)
    status = run.folder.status()
    assert status["state"] == "interrupted" and not run.folder.is_trained
    assert checkpoint_files(run.folder)[0].name == f"step-{_last_step(run):09d}.pt"


def _last_step(run: Run) -> int:
    state = torch.load(checkpoint_files(run.folder)[0], weights_only=True)
    assert state["progress"]["step"] >= run.folder.status()["step"]  # the status is written once a second
    return int(state["progress"]["step"])


def test_a_failure_is_a_state_a_sentence_and_a_traceback(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, model="B")  # its parent A is not trained
    prepare(run)
    with pytest.raises(RunError, match="train that first"):
        work(run, live=False)
    status = run.folder.status()
    assert status["state"] == "failed" and "train that first" in status["error"]
    assert "Traceback" in run.folder.error.read_text()


def test_two_workers_do_not_share_a_run(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    prepare(run)
    with run.folder.locked(), pytest.raises(RunLocked):
        work(run, live=False)


def test_a_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run, other = tiny_run(tmp_path), tiny_run(tmp_path, seed=1)
    prepare(run)
    prepare(other)
    run.folder.config.write_text(other.folder.config.read_text())
    with pytest.raises(RunError, match="is not the configuration"):
        prepare(run)


def test_a_half_written_configuration_is_refused(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    prepare(run)
    text = run.folder.config.read_text()
    run.folder.config.write_text(text[: len(text) // 3])
    with pytest.raises(RunError, match="is not a whole configuration"):
        prepare(run)


def test_a_protocol_grows(tmp_path: Path) -> None:
    prepare(tiny_run(tmp_path, protocol="centre"))
    folder = prepare(tiny_run(tmp_path, protocol="multi"))
    assert read_run(folder).config.protocol.passes == ["dense@single", "centre-crop@single", "dense@multi"]


def test_a_run_made_before_arithmetic_entered_ids_is_known(tmp_path: Path) -> None:
    """Its config.yaml names a precision that its id knows nothing of."""
    run = tiny_run(tmp_path, precision="auto")
    folder = prepare(run)
    text = unsealed_yaml(folder.config.read_text())
    assert text.count("precision: auto") == 1 and text.count("deterministic: false") == 1
    old = text.replace("precision: auto", "precision: fp32").replace("deterministic: false", "deterministic: true")
    folder.config.write_text(old)
    found = read_run(folder)
    assert (found.id, found.config.precision, found.config.deterministic) == (run.id, "fp32", True)
    assert unsealed_yaml(prepare(run).config.read_text()) == old
    folder.config.write_text(text.replace("crop: 32", "crop: 64"))
    assert read_run(folder).id != run.id


def test_a_run_in_a_folder_is_scored_as_asked_and_keeps_its_configuration(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, precision="auto")
    text = unsealed_yaml(prepare(run).config.read_text())
    asked = run_in_folder(replace(run.config, run=str(run.folder.path), precision="bf16", threads=2))
    assert (asked.id, asked.config.precision, asked.config.threads) == (run.id, "bf16", 2)
    assert unsealed_yaml(prepare(asked).config.read_text()) == text.replace("threads: 1", "threads: 2")
    named = tiny_run(tmp_path, precision="bf16")
    prepare(named)
    again = run_in_folder(replace(run.config, run=str(named.folder.path)))
    assert (again.id, again.config.precision) == (named.id, "bf16")


def test_what_is_read_back_is_the_run_that_was_prepared(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, model="E", train_scale="jitter", protocol="crops")
    prepare(run)
    assert read_run(run.folder) == run
