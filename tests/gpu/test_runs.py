"""Whole runs by the real command: killed and resumed, by several processes, and a GPU each."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.gpu.conftest import DEVICE
from tests.paths import ROOT
from vgg_sweep.sweep.executors.process import visible_gpus

TINY = {"num_classes": 3, "train_per_class": 8, "val_per_class": 4, "side_px": 64}
WORDS = ["model=A", "crop=32", "width=0.03125", "recipe.batch_size=8", "protocol=single", "threads=1", "layout=nchw"]
WORDS += [f"data.fractals.{name}={value}" for name, value in TINY.items()]


def start(cwd: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vgg_sweep", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def call(cwd: Path, *words: str) -> str:
    process = start(cwd, *words)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


def record(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "record.json").read_text())
    return found


def test_a_run_from_images_to_tables(tmp_path: Path, device: torch.device) -> None:
    call(tmp_path, "train", *WORDS, f"device={device}", "recipe.epochs=2", "out=runs")
    [folder] = (tmp_path / "runs").glob("A-*")
    assert record(folder)["device"] == device.type and record(folder)["steps"] == 6
    rows = json.loads(call(tmp_path, "report", "runs", "--format", "json"))
    assert any(row["table"] == "3" and row["config"] == "A" and row["top1_error"] is not None for row in rows)


@pytest.mark.parametrize("precision", ["fp32"] if DEVICE == "cpu" else ["fp32", "bf16", "fp16"])
def test_killed_and_resumed_is_bitwise_never_killed(tmp_path: Path, device: torch.device, precision: str) -> None:
    words = [*WORDS, f"device={device}", f"precision={precision}", "deterministic=true", "recipe.epochs=50"]
    words += ["recipe.lr=0.002", "recipe.validate_epochs=50"]
    call(tmp_path, "train", *words, "out=whole")
    words += ["out=killed", "checkpoint_every_steps=5"]
    process = start(tmp_path, "train", *words)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "killed").glob("A-*/checkpoints/*.pt")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list((tmp_path / "killed").glob("A-*/weights.safetensors")), "it ended before it was killed"
    call(tmp_path, "train", *words)
    [whole], [killed] = ((tmp_path / name).glob("A-*") for name in ("whole", "killed"))
    assert "from step 0\n" not in (killed / "log.txt").read_text().splitlines(keepends=True)[-1]
    expected, found = load_file(whole / "weights.safetensors"), load_file(killed / "weights.safetensors")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_all_gpus_together_give_the_weights_of_one(tmp_path: Path, cuda: torch.device) -> None:
    """By NCCL, with as many processes as there are GPUs; where there is one, the calls that ranks make."""
    num_gpus = torch.cuda.device_count()
    if num_gpus == 1:
        program = (
            "import numpy, torch, torch.distributed as dist\n"
            "torch.cuda.set_device(0); dist.init_process_group('nccl')\n"
            "total = torch.tensor([1.5, 2.0], dtype=torch.float64, device='cuda'); dist.all_reduce(total)\n"
            "parts = [None]; dist.gather_object(numpy.arange(3), parts)\n"
            "net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2).cuda(), broadcast_buffers=False)\n"
            "net(torch.ones(1, 2, device='cuda')).sum().backward()\n"
            "assert total.tolist() == [1.5, 2.0] and parts[0].tolist() == [0, 1, 2]\n"
            "dist.destroy_process_group()\n"
        )
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "--no-python"]
        done = subprocess.run([*words, sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    words = [*WORDS, "device=cuda", "precision=fp32", "recipe.epochs=4", "recipe.lr=0.002"]
    call(tmp_path, "train", *words, "out=one")
    call(tmp_path, "train", *words, "out=all", f"devices={num_gpus}")
    [one], [all_] = ((tmp_path / name).glob("A-*") for name in ("one", "all"))
    assert record(all_)["devices"] == num_gpus
    expected, found = load_file(one / "weights.safetensors"), load_file(all_ / "weights.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=0)


def test_more_processes_than_gpus_are_refused(tmp_path: Path, cuda: torch.device) -> None:
    process = start(tmp_path, "train", *WORDS, "device=cuda", f"devices={torch.cuda.device_count() + 1}", "out=runs")
    out, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "GPUs here; use devices=" in out or any(
        "GPUs here; use devices=" in path.read_text() for path in (tmp_path / "runs").glob("*/error.txt")
    )


def test_each_job_has_a_gpu(tmp_path: Path, cuda: torch.device) -> None:
    """`jobs=auto`: as many runs at a time as GPUs, none of which two share; one run more than GPUs waits."""
    gpus = visible_gpus()
    assert len(gpus) == torch.cuda.device_count()
    seeds = ",".join(map(str, range(len(gpus) + 1)))
    call(tmp_path, "multirun", *WORDS, "device=cuda", "recipe.epochs=2", "out=runs", f"seed={seeds}", "jobs=auto")
    states = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("A-*/status.json")]
    assert [state["state"] for state in states] == ["done"] * (len(gpus) + 1)
    given = [state["gpus"] for state in states]
    assert all(len(each) == 1 for each in given)
    assert {each[0] for each in given} == set(gpus)
