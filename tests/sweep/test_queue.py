"""Runs as jobs of submitit's on this machine; on Slurm itself: tests/slurm."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import stub
from tests.stub import WORKER, lines, make_runs
from vgg_sweep.errors import ConfigError
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.driver import Stopped
from vgg_sweep.sweep.driver import drive as drive_sweep
from vgg_sweep.sweep.executors import queue
from vgg_sweep.sweep.executors.queue import Job, Queue

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

PATIENT = (
    "import sys, pathlib; from tests.sweep.test_queue import patient; sys.exit(patient(pathlib.Path(sys.argv[1])))"
)
DRIVER = "import sys; from tests.sweep.test_queue import drive; drive(sys.argv[1], sys.argv[2:])"


def launcher(sweep: Path, cluster: str = "Local", **settings: object) -> Any:
    from hydra_plugins.hydra_submitit_launcher import submitit_launcher

    kind = getattr(submitit_launcher, f"{cluster}Launcher")
    return kind(**{"submitit_folder": f"{sweep}/.submitit/%j", "name": "test", "timeout_min": 1} | settings)


def drive(sweep: str, ids: Sequence[str]) -> None:
    drive_sweep(Agenda(make_runs(Path(sweep), dict.fromkeys(ids))), Queue(launcher(Path(sweep)), WORKER))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def patient(folder: Path) -> int:
    """A run that ends when B is done."""
    wait_until(lambda: folder.name != "patient" or "B" in lines(folder.parent, "done"))
    return stub.main(["work", str(folder)])


def test_each_run_as_soon_as_its_parent_is_done_and_no_end_touches_another(tmp_path: Path) -> None:
    parents = {"A": None, "patient": None, "B": "A", "killed": "A", "bad": "A", "C": "killed"}
    agenda = Agenda(make_runs(tmp_path, parents, {"killed": {"ends": ["kill"]}, "bad": {"ends": ["raise"]}}))
    drive_sweep(agenda, Queue(launcher(tmp_path), [sys.executable, "-c", PATIENT]))
    ends = {"A": "done", "patient": "done", "B": "done", "killed": "failed", "bad": "failed", "C": "blocked"}
    assert agenda.states == ends
    assert lines(tmp_path, "done") == ["A", "B", "patient"]
    assert "SIGKILL" in RunFolder(tmp_path / "killed").status()["error"]
    assert RunFolder(tmp_path / "bad").status()["error"] == "told to fail"


def test_the_driver_dies_and_the_next_one_does_nothing_twice(tmp_path: Path) -> None:
    make_runs(tmp_path, {"A": None, "B": None}, {"A": {"seconds": 6, "ends": ["done"]}})
    command = [sys.executable, "-c", DRIVER, str(tmp_path), "A", "B"]
    driver = subprocess.Popen(command)
    wait_until(lambda: lines(tmp_path, "began").count("A") == 1)
    driver.kill()
    driver.wait()
    assert lines(tmp_path, "done") != ["A"]
    assert subprocess.run(command).returncode == 0
    assert sorted(lines(tmp_path, "began")) == sorted(lines(tmp_path, "done")) == ["A", "B"]


@pytest.mark.parametrize("max_num_timeout", [1, 0])
def test_when_its_time_is_up_a_job_is_put_back_as_often_as_allowed(tmp_path: Path, max_num_timeout: int) -> None:
    [run] = make_runs(tmp_path, {"A": None}, {"A": {"seconds": 60, "ends": ["done"]}})
    agenda = Agenda([run])
    warn = Thread(target=end_its_time, args=(run.folder,))
    warn.start()
    drive_sweep(agenda, Queue(launcher(tmp_path, max_num_timeout=max_num_timeout), WORKER))
    warn.join()
    if max_num_timeout:
        assert agenda.states == {"A": "done"}
        assert lines(tmp_path, "began") == ["A", "A"]
    else:
        assert agenda.states == {"A": "interrupted"}
        assert "max_num_timeout" in run.folder.status()["error"]


def end_its_time(folder: RunFolder) -> None:
    """What Slurm does to all processes of a job; the next attempt will be short."""
    wait_until(lambda: lines(folder.path.parent, "began") == [folder.id])
    write_json(folder.path / "orders.json", {"ends": ["done"]})
    controller = folder.job.split()[1]
    waits = int(Path(f"/proc/{controller}/task/{controller}/children").read_text())
    for process in (waits, folder.status()["pid"]):
        os.kill(process, signal.SIGUSR2)


def test_a_job_whose_run_is_done_or_at_work_elsewhere_ends_at_once(tmp_path: Path) -> None:
    done, at_work = make_runs(tmp_path, {"done": None, "at work": None})
    subprocess.run([*WORKER, done.folder.path], check=True)
    Job(WORKER)(done)
    with at_work.folder.locked():
        Job(WORKER)(at_work)
    assert lines(tmp_path, "began") == ["done"]


class Slurm:
    """What is asked of Slurm, with answers made up: `sbatch` and `scancel` are written down, `squeue` says `states`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states, self.asked = folder / "states", folder / "asked"
        for name, answer in {
            "srun": "",
            "sbatch": f"echo Submitted batch job 7; echo '7_0 PENDING\n7_1 PENDING' > {self.states}",
            "scancel": "",
            "squeue": f"cat {self.states}",
        }.items():
            (folder / name).write_text(f"#!/bin/sh\necho {name} $* >> {self.asked}\n{answer}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(queue, "LOOK_SECONDS", 0)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    (tmp_path / "bin").mkdir()
    return Slurm(tmp_path / "bin", monkeypatch)


def test_what_becomes_of_a_job_that_says_nothing_is_read_from_the_queue(tmp_path: Path, slurm: Slurm) -> None:
    runs = make_runs(tmp_path, {"A": None, "B": None, "C": "A"})
    jobs = Queue(launcher(tmp_path, "Slurm"), WORKER)
    assert jobs.take(runs[:2]) == {"A": "slurm 7_0", "B": "slurm 7_1"}
    assert jobs.end_of("slurm 7_0") is None
    slurm.states.write_text("7_0 CANCELLED\n7_1 OUT_OF_MEMORY\n")
    assert [jobs.end_of("slurm 7_0"), jobs.end_of("slurm 7_1")] == ["CANCELLED", "OUT_OF_MEMORY"]
    slurm.states.unlink()
    assert jobs.end_of("slurm 7_0") is None  # the queue does not answer


def test_a_driver_takes_over_what_waits_in_the_queue(tmp_path: Path, slurm: Slurm) -> None:
    agenda = Agenda(make_runs(tmp_path, {"A": None, "B": None, "C": "A"}))
    Queue(launcher(tmp_path, "Slurm"), WORKER).take(agenda.runs[:2])
    slurm.asked.unlink()
    ended = Thread(target=lambda: (time.sleep(1), slurm.states.write_text("7_0 CANCELLED\n7_1 FAILED\n")))
    ended.start()
    drive_sweep(agenda, Queue(launcher(tmp_path, "Slurm"), WORKER))
    ended.join()
    assert agenda.states == {"A": "interrupted", "B": "failed", "C": "blocked"}
    assert RunFolder(tmp_path / "A").status()["error"] == "its job, slurm 7_0, has ended as CANCELLED"
    assert "sbatch" not in slurm.asked.read_text()


def test_a_stop_cancels_the_jobs(tmp_path: Path, slurm: Slurm) -> None:
    agenda = Agenda(make_runs(tmp_path, {"A": None, "B": None}))

    def stop() -> None:
        wait_until(lambda: slurm.states.exists())
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: "scancel" in slurm.asked.read_text())
        slurm.states.write_text("7_0 CANCELLED\n7_1 CANCELLED\n")

    stops = Thread(target=stop)
    stops.start()
    with pytest.raises(Stopped):
        drive_sweep(agenda, Queue(launcher(tmp_path, "Slurm"), WORKER))
    stops.join()
    assert "scancel 7_0 7_1" in slurm.asked.read_text()


def test_settings_that_submitit_does_not_know_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="hydra.launcher: .*wrong"):
        Queue(launcher(tmp_path, wrong=1), WORKER)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="Slurm is not on this machine"):
        Queue(launcher(tmp_path, "Slurm"), WORKER)
