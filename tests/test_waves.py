"""Waves of runs by Hydra's launchers: one that loses jobs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.stub import WORKER, make_runs
from vgg_sweep.store import RunFolder
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.waves import in_waves


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
    in_waves(agenda, launcher)  # type: ignore[arg-type]
    assert agenda.states == {"A": "done", "bad": "failed", "innocent": "done", "B": "done", "C": "blocked"}
    assert launcher.launched == [["A", "bad", "innocent"], ["bad"], ["innocent"], ["B"]]
    assert RunFolder(tmp_path / "bad").status()["error"] == "the launcher reports RuntimeError: the pool is broken"
