"""Hydra's launchers: one that loses jobs, and those of the extras by the real command."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.stub import WORKER, make_runs
from vgg_sweep.runs.folder import RunFolder, find_runs
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.driver import Stopped, drive
from vgg_sweep.sweep.executors.waves import Waves


class PoolThatBreaks:
    """A launcher like joblib's: a job that is killed takes with it those that were not done."""

    def __init__(self) -> None:
        self.launched: list[list[str]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[object]:
        folders = [override.removeprefix("run='").removesuffix("'") for [override] in jobs]
        self.launched.append([Path(folder).name for folder in folders])
        for folder in folders:
            if subprocess.run([*WORKER, folder]).returncode < 0:
                raise RuntimeError("the pool is broken")
        return []


def test_waves_for_a_launcher_that_loses_jobs(tmp_path: Path) -> None:
    parents = {"A": None, "bad": None, "innocent": None, "B": "A", "C": "bad"}
    agenda = Agenda(make_runs(tmp_path, parents, {"bad": {"ends": ["kill"]}}))
    launcher = PoolThatBreaks()
    drive(agenda, Waves(launcher))  # type: ignore[arg-type]
    assert agenda.states == {"A": "done", "bad": "failed", "innocent": "done", "B": "done", "C": "blocked"}
    assert launcher.launched == [["A", "bad", "innocent"], ["bad"], ["innocent"], ["B"]]
    assert RunFolder(tmp_path / "bad").status()["error"] == "the launcher reports RuntimeError: the pool is broken"


def test_ctrl_c_is_a_stop(tmp_path: Path) -> None:
    class Stopping:
        def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[object]:
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="SIGINT"):
        drive(Agenda(make_runs(tmp_path, {"A": None})), Waves(Stopping()))  # type: ignore[arg-type]


TINY = """data=fractals data.fractals.num_classes=2 data.fractals.train_per_class=4 data.fractals.val_per_class=2
    data.fractals.side_px=32 crop=32 width=0.03125 recipe.max_steps=2 device=cpu threads=1 protocol=centre""".split()


@pytest.mark.parametrize("launcher", ["pool", "submitit_local"])
def test_the_launchers_of_the_extras(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{'submitit' if 'submitit' in launcher else 'joblib'}_launcher")
    command = [Path(sys.executable).parent / "vgg-sweep", "multirun", *TINY, f"hydra/launcher={launcher}"]
    command += [f"out={tmp_path}/runs", f"cache={tmp_path}/cache", "model=A"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    [run] = find_runs(tmp_path / "runs")
    assert run.status()["state"] == "done"
