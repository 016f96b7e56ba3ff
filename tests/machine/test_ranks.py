"""Several processes against one: the same weights, the same posteriors; failures and signals of any of them."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Outcome
from tests.forked import fork_ranks
from tests.paths import ROOT
from tests.tiny import RECIPE, tiny_config, tiny_run
from vgg_sweep.config.checks import check_batches
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.machine.ranks import Ranks
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.sweep.work import work

TWENTY_STEPS = replace(RECIPE, epochs=5.0)  # 24 images in batches of 7: the shares are 3 and 4 rows, the last 1 and 2


@pytest.mark.parametrize(("num_rows", "num_ranks"), [(7, 2), (3, 4), (256, 3), (0, 2), (250, 8)])
def test_shares_cover_a_batch_and_differ_by_one_at_most(num_rows: int, num_ranks: int) -> None:
    shares = [Ranks(rank, num_ranks).share(range(100, 100 + num_rows)) for rank in range(num_ranks)]
    assert [row for share in shares for row in share] == list(range(100, 100 + num_rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_too_small_for_the_processes_is_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)  # batches of 7
    check_batches(config, 24, 3, is_whole=False)
    with pytest.raises(ConfigError, match="a batch has 3 images .* too few for 4 processes"):
        check_batches(config, 24, 4, is_whole=False)


def same(one: Run, other: Run, atol: float = 1e-5) -> None:
    weights, others = load_file(one.folder.weights), load_file(other.folder.weights)
    for name in weights:
        torch.testing.assert_close(others[name], weights[name], atol=atol, rtol=0)


def worked(run: Run) -> Run:
    prepare(run)
    work(run, live=False)
    return run


def test_two_processes_give_the_weights_and_posteriors_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_ranks(monkeypatch)
    alone = worked(tiny_run(tmp_path / "one", recipe=TWENTY_STEPS, protocol="all"))
    both = worked(tiny_run(tmp_path / "two", recipe=TWENTY_STEPS, protocol="all", devices=2))
    assert alone.id == both.id
    same(alone, both)
    record = both.folder.record()
    assert record["devices"] == 2 and record["steps"] == 20
    assert record["val_error"] == alone.folder.record()["val_error"]
    for file in alone.folder.posteriors.glob("*.npy"):
        np.testing.assert_allclose(np.load(both.folder.posteriors / file.name), np.load(file), atol=1e-5)
    manifests = [read_json(run.folder.posteriors / "manifest.json") for run in (alone, both)]
    assert manifests[0]["images"] == manifests[1]["images"] and manifests[1]["files"][0]["N"] == 12
    with open(alone.folder.metrics) as one, open(both.folder.metrics) as other:
        for row, of_both in zip(csv.DictReader(one), csv.DictReader(other), strict=True):
            assert row["step"] == of_both["step"] and row["val_error"] == of_both["val_error"]
            assert float(row["loss"]) == pytest.approx(float(of_both["loss"]), abs=2e-4)


def torchrun(*words: str, cwd: Path) -> subprocess.Popen[str]:
    package = ROOT
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", *words]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(package)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_torchrun_works_off_a_chain_of_runs_in_one_process_group(call: Callable[..., Outcome], tmp_path: Path) -> None:
    settings = {"recipe.epochs": 1, "recipe.batch_size": 8, "width": 0.03125, "crop": 32, "device": "cpu", "threads": 1}
    settings |= {"precision": "fp32", "layout": "channels-last"}
    settings |= {f"data.fractals.{name}": value for name, value in
                 {"num_classes": 3, "train_per_class": 8, "val_per_class": 4, "side_px": 64}.items()}  # fmt: skip
    words = ["vgg_sweep", "train", "model=B", *(f"{name}={value}" for name, value in settings.items())]
    both = torchrun(*words, cwd=tmp_path)
    out, err = both.communicate(timeout=120)
    assert both.returncode == 0, out + err
    assert call(*words[1:], "out=alone").exit_code == 0
    folders = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert [name.split("-")[0] for name in folders] == ["A", "B"]
    for name in folders:
        weights = load_file(tmp_path / "alone" / name / "weights.safetensors")
        others = load_file(tmp_path / "outputs" / "fractals" / name / "weights.safetensors")
        for tensor in weights:
            torch.testing.assert_close(others[tensor], weights[tensor], atol=1e-5, rtol=0)


def start_ranks(run: Run) -> subprocess.Popen[str]:
    """A worker of the sweep, once its processes train."""
    prepare(run)
    command = [sys.executable, "-m", "vgg_sweep.sweep.work", str(run.folder.path)]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while run.folder.status().get("stage") != "train":
        assert time.monotonic() < deadline and worker.poll() is None, run.folder.log.read_text()
        time.sleep(0.02)
    return worker


def test_all_stop_at_one_step_and_go_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by torchrun; those that are never stopped, which are compared with, are forked."""
    recipe = replace(RECIPE, epochs=15.0, lr=0.005, validate_epochs=15.0)
    with monkeypatch.context() as patch:
        fork_ranks(patch)
        whole = worked(tiny_run(tmp_path / "one", recipe=recipe, devices=2))
    run = tiny_run(tmp_path / "two", recipe=recipe, devices=2)
    worker = start_ranks(run)
    worker.send_signal(signal.SIGUSR2)
    worker.communicate(timeout=60)
    assert worker.returncode == 130
    assert run.folder.status()["state"] == "interrupted" and not run.folder.is_trained
    same(whole, worked(run), atol=0)


class AskedToStopMeanwhile(Ranks):
    """The second of two ranks, which a signal reaches while both ask one another."""

    reporter: Reporter

    def any(self, flag: bool) -> bool:
        self.reporter.stop_requested = "SIGTERM"
        return flag


def test_a_signal_that_comes_while_ranks_ask_one_another_stops_all_at_the_next_step(tmp_path: Path) -> None:
    """Stopping alone, it would leave the other without its share of the next step."""
    ranks, reporter = AskedToStopMeanwhile(1, 2), Reporter(RunFolder(tmp_path), live=False, mute=True)
    object.__setattr__(ranks, "reporter", reporter)
    assert not ranks.must_stop(reporter)
    assert ranks.must_stop(reporter)


def test_what_fails_in_one_process_is_said_for_all(tmp_path: Path) -> None:
    *_, run = plan([tiny_config(tmp_path, "B", devices=2)])
    prepare(run)
    with pytest.raises(RunError, match="which has no weights in .*; train that first"):
        work(run, live=False)
    assert run.folder.status()["state"] == "failed"
    assert "Traceback" in run.folder.error.read_text()
