"""Hard ends of a run, many of them: `make soak`, some minutes. After each the weights must come out bitwise the same.

SIGKILL at random moments while checkpoints are written without a pause, for one process and for two; and a disk with
room for less and less.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.forked import start_worker
from tests.sweep.test_work import wait_until_it_trains
from tests.tiny import RECIPE, tiny_run
from tests.train.test_train import equal
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json
from vgg_sweep.sweep.work import work
from vgg_sweep.train.checkpoints import checkpoint_files

NUM_EPOCHS = {1: 1500.0, 2: 300.0}
"""By number of processes: of 4 steps, enough for all of them to be killed before the end."""


def worked(run: Run) -> Run:
    prepare(run)
    work(run, live=False)
    return run


def same_results(one: Run, other: Run) -> bool:
    files = sorted(path.name for path in one.folder.posteriors.glob("*.npy"))
    return equal(load_file(one.folder.weights), load_file(other.folder.weights)) and all(
        (one.folder.posteriors / name).read_bytes() == (other.folder.posteriors / name).read_bytes() for name in files
    )


def all_that_is_there_is_whole(run: Run) -> None:
    for path in checkpoint_files(run.folder):
        torch.load(path, weights_only=True)
    for path in run.folder.path.glob("*.json"):
        read_json(path)
    if run.folder.is_trained:
        load_file(run.folder.weights)


@pytest.mark.parametrize(("devices", "num_kills"), [(1, 20), (2, 4)])
def test_killed_at_random_moments(tmp_path: Path, devices: int, num_kills: int) -> None:
    recipe = replace(RECIPE, epochs=NUM_EPOCHS[devices], lr=0.005)
    whole = worked(tiny_run(tmp_path / "whole", recipe=recipe, devices=devices))
    pieces = tiny_run(tmp_path / "pieces", recipe=recipe, devices=devices, checkpoint_every_steps=1)
    seed = time.time_ns()
    print(f"seed {seed}")
    rng, steps, num_while_saving = random.Random(seed), [0], 0
    prepare(pieces)
    for _ in range(num_kills):
        worker = start_worker(pieces.folder.path)
        if devices == 1:
            wait_until_it_trains(pieces, worker)
        else:
            while pieces.folder.status().get("state") != "running" or pieces.folder.status().get("stage") != "train":
                time.sleep(0.02)
                assert worker.is_alive()
        time.sleep(rng.uniform(0, 1))
        os.kill(int(pieces.folder.status()["pid"]), signal.SIGKILL)  # the process that writes
        worker.join(60)
        # With two processes torchrun stops the other one: it may end as failed or, if it hears in time, as interrupted.
        assert worker.exitcode in ((-9,) if devices == 1 else (1, 130))
        unfinished = list(pieces.folder.checkpoints.glob(".*"))
        assert len(unfinished) <= 1
        num_while_saving += len(unfinished)
        all_that_is_there_is_whole(pieces)
        steps.append(int(checkpoint_files(pieces.folder)[0].stem.removeprefix("step-")))
    print(f"continued from steps {steps}; {num_while_saving} of {num_kills} were killed while saving")
    assert steps == sorted(steps) and not pieces.folder.is_trained
    assert same_results(whole, worked(pieces))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full(small_disk: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=100.0)
    whole = worked(tiny_run(tmp_path / "whole", recipe=recipe))
    run = tiny_run(small_disk, recipe=recipe, checkpoint_every_steps=1, cache=str(tmp_path / "cache"))
    prepare(run)
    ballast, num_failures = small_disk / "ballast", 0
    for left_kib in (0, 8, 64, 300, 600, 900, 8000):
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(max(0, free - left_kib * 1024)))
        done = subprocess.run(
            [sys.executable, "-m", "vgg_sweep.sweep.work", str(run.folder.path)], capture_output=True, text=True
        )
        print(f"{left_kib} KiB left: exit code {done.returncode}, {done.stderr.strip()[:200]}")
        ballast.unlink()
        all_that_is_there_is_whole(run)
        if done.returncode == 0:
            break
        assert done.returncode == 1 and "the disk is full" in done.stderr and "Traceback" not in done.stderr
        assert run.folder.status().get("state") != "done"
        num_failures += 1
    assert num_failures >= 4 and same_results(whole, run)
