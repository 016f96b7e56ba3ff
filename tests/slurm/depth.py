"""The demo's depth sweep on a real Slurm of one node: `make test-slurm`, some minutes, as root on Debian or Ubuntu.

The driver is killed while a job runs and while others wait, jobs reach their time limit, one is cancelled: the
posteriors come out bitwise as those of a sweep without Slurm.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vgg_sweep.runs.folder import RunFolder, find_runs

ENGINE = Path(__file__).parent / "slurm.sh"
VGG_SWEEP = Path(sys.executable).parent / "vgg-sweep"
SWEEP = ["experiment=demo", "sweep=depth", "protocol=centre", "recipe.epochs=4", "device=cpu", "threads=1"]
ON_SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=60", "hydra.launcher.signal_delay_s=115"]


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    subprocess.run([ENGINE, "start", folder], check=True)
    yield
    subprocess.run(["scancel", "--user=root"], check=True)
    subprocess.run([ENGINE, "stop", folder], check=True)


def start(*overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [VGG_SWEEP, "multirun", *overrides], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def end_of(driver: subprocess.Popen[str]) -> tuple[int, str]:
    """The driver's exit code, and what it said."""
    said, _ = driver.communicate()
    print(said)
    return driver.returncode, said


def killed(driver: subprocess.Popen[str]) -> None:
    driver.kill()
    end_of(driver)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def run_of(sweep: Path, model: str) -> RunFolder:
    return next(folder for folder in find_runs(sweep) if folder.id.startswith(f"{model}-"))


def is_training(folder: RunFolder) -> bool:
    status = folder.status()
    return status.get("state") == "running" and status.get("stage") == "train" and status.get("step", 0) > 3


def number(folder: RunFolder) -> str:
    """Slurm's id of the run's job."""
    return folder.job.split()[1]


def slurm_says(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def end_its_time(folder: RunFolder) -> None:
    """Lower the limit of a running job such that its time is up when Slurm looks, which it does twice a minute."""
    before = len(first_steps(folder))
    minutes = int(slurm_says("squeue", "--noheader", "--format=%M", f"--jobs={number(folder)}").split(":")[-2])
    slurm_says("scontrol", "update", f"jobid={number(folder)}", f"timelimit={minutes + 2}")
    wait_until(lambda: "PENDING" in slurm_says("squeue", "--noheader", "--format=%T", f"--jobs={number(folder)}"))
    slurm_says("scontrol", "update", f"jobid={number(folder)}", "timelimit=60")
    wait_until(lambda: len(first_steps(folder)) > before)


def first_steps(folder: RunFolder) -> list[int]:
    """The step from which each attempt at the run went on."""
    return [int(step) for step in re.findall(r"from step (\d+)", folder.log.read_text())]


def test_depth(tmp_path: Path) -> None:
    assert end_of(start(*SWEEP, f"out={tmp_path}/here"))[0] == 0
    out = tmp_path / "cluster"
    command = [*SWEEP, *ON_SLURM, f"out={out}"]

    driver = start(*command)
    wait_until(lambda: bool(find_runs(out)) and is_training(run_of(out, "A")))
    killed(driver)
    first = run_of(out, "A").job

    driver = start(*command)
    children = [run_of(out, model) for model in "BCDE"]
    wait_until(lambda: all(folder.job for folder in children))
    killed(driver)
    assert run_of(out, "A").job == first
    array = [folder.job for folder in children]
    assert len({name.split("_")[0] for name in array}) == 1

    driver = start(*command)
    cancelled, out_of_time = run_of(out, "C"), run_of(out, "E")
    wait_until(lambda: is_training(cancelled))
    slurm_says("scancel", number(cancelled))
    wait_until(lambda: is_training(out_of_time))
    end_its_time(out_of_time)
    code, said = end_of(driver)
    assert code == 1
    assert "1 of 5 runs are not done" in said
    assert f"{cancelled.id}: interrupted, its job, {cancelled.job}, has ended as CANCELLED" in said
    assert [folder.job for folder in children] == array
    assert len(first_steps(out_of_time)) == 2

    assert end_of(start(*command))[0] == 0
    wait_until(lambda: slurm_says("squeue", "--noheader") == "")  # the last job may be about to leave
    for here in find_runs(tmp_path / "here"):
        there = RunFolder(out / here.id)
        starts = first_steps(there)
        print(here.id, "went on from the steps", starts)
        assert starts == sorted(set(starts)) and starts[0] == 0
        posteriors = sorted(path.name for path in here.posteriors.glob("*.npy"))
        assert posteriors
        for name in posteriors:
            assert (there.posteriors / name).read_bytes() == (here.posteriors / name).read_bytes()


def test_ctrl_c_takes_the_jobs_back_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [*SWEEP, *ON_SLURM, f"out={tmp_path}"]
    driver = start(*command)
    wait_until(lambda: bool(find_runs(tmp_path)) and is_training(run_of(tmp_path, "A")))
    driver.send_signal(signal.SIGINT)
    code, said = end_of(driver)
    assert code == 130
    assert "To continue: vgg-sweep multirun" in said
    wait_until(lambda: slurm_says("squeue", "--noheader") == "")
    step = run_of(tmp_path, "A").status()["step"]
    driver = start(*command)
    wait_until(lambda: len(first_steps(run_of(tmp_path, "A"))) > 1)
    driver.send_signal(signal.SIGINT)
    end_of(driver)
    assert first_steps(run_of(tmp_path, "A"))[1] >= step > 3


def test_a_time_limit_reached_too_often_is_named(tmp_path: Path) -> None:
    limits = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=45", "hydra.launcher.max_num_timeout=0"]
    code, said = end_of(start(*SWEEP, *ON_SLURM, *limits, "recipe.epochs=100", f"out={tmp_path}"))
    assert code == 1
    assert f"{run_of(tmp_path, 'A').id}: interrupted, its time limit was reached more often than" in said
    assert said.count("blocked by A-") >= 4


def test_two_processes_of_one_run_save_and_go_on(tmp_path: Path) -> None:
    ready = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=2"]
    driver = start(*SWEEP, *ready, "sweep.grids=[{model: A}]", "devices=2", f"out={tmp_path}")
    wait_until(lambda: bool(find_runs(tmp_path)) and is_training(run_of(tmp_path, "A")))
    slurm_says("scancel", "--signal=USR2", number(run_of(tmp_path, "A")))
    assert end_of(driver)[0] == 0
    starts = first_steps(run_of(tmp_path, "A"))
    assert len(starts) == 2 and starts[1] > 3


def test_what_slurm_refuses_is_said_in_a_sentence(tmp_path: Path) -> None:
    code, said = end_of(start(*SWEEP, *ON_SLURM, "hydra.launcher.partition=nowhere", f"out={tmp_path}"))
    assert code == 2
    assert re.search(r"^Error: Slurm refuses the jobs \(invalid partition.*nowhere", said, re.MULTILINE)
