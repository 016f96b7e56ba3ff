"""Runs as Ray's tasks, with a stand-in for Ray that does a task at once; on a real cluster: tests/ray."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from omegaconf import OmegaConf

from tests.stub import WORKER, lines, make_runs
from vgg_sweep.errors import ConfigError
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.driver import drive
from vgg_sweep.sweep.executors.tasks import Tasks, worker_code


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class WorkerCrashedError(RayError):
    pass


class TaskCancelledError(RayError):
    pass


class StandIn:
    """What is used of Ray. `losses` are the runs whose node is lost, once each."""

    exceptions = SimpleNamespace(RayError=RayError, NodeDiedError=NodeDiedError, TaskCancelledError=TaskCancelledError)

    def __init__(self, *losses: str) -> None:
        self.losses = set(losses)
        self.cancelled: list[bool] = []

    def init(self, **settings: object) -> None:
        if settings["address"] != "auto":
            raise ConnectionError("nobody\nanswers")

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}]

    def remote(self, **settings: object) -> Callable[[object], object]:
        return lambda function: SimpleNamespace(remote=self._attempt)

    def _attempt(self, folder: str, home: str) -> Any:
        name = Path(folder).name
        if name in self.losses:
            self.losses.remove(name)
            return NodeDiedError("lost")
        if subprocess.run([*WORKER, folder]).returncode < 0:
            return WorkerCrashedError("the worker is gone\nand more")
        return object()

    def wait(self, tasks: Iterable[object], num_returns: int, timeout: float) -> tuple[list[object], list[object]]:
        return list(tasks), []

    def get(self, task: object) -> None:
        if isinstance(task, Exception):
            raise task

    def cancel(self, task: object, force: bool) -> None:
        self.cancelled.append(force)


def launcher(address: str = "auto", **remote: object) -> Any:
    return SimpleNamespace(ray_cfg=OmegaConf.create({"init": {"address": address}, "remote": remote}))


def test_parents_first_lost_nodes_again_and_no_end_touches_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", StandIn("lost"))
    parents = {"A": None, "lost": "A", "killed": "A", "C": "killed", "bad": None}
    agenda = Agenda(make_runs(tmp_path, parents, {"killed": {"ends": ["kill"]}, "bad": {"ends": ["raise"]}}))
    drive(agenda, Tasks(launcher()))
    assert agenda.states == {"A": "done", "lost": "done", "killed": "failed", "C": "blocked", "bad": "failed"}
    assert lines(tmp_path, "done") == ["A", "lost"]
    said = "Ray reports WorkerCrashedError: the worker is gone"
    assert RunFolder(tmp_path / "killed").status()["error"] == said
    assert RunFolder(tmp_path / "bad").status()["error"] == "told to fail"


def test_tasks_are_cancelled_or_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = StandIn()
    monkeypatch.setitem(sys.modules, "ray", ray)
    tasks = Tasks(launcher())
    runs = list(tasks.submit(make_runs(tmp_path, {"A": None, "B": None})))
    tasks.cancel(runs[:1], at_once=False)
    tasks.cancel(runs, at_once=True)
    assert ray.cancelled == [False, True, True]


def test_no_cluster_and_no_node_large_enough_are_a_sentence_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", StandIn())
    with pytest.raises(ConfigError, match=r"no Ray cluster is found at .*address=there \(nobody answers\)"):
        Tasks(launcher("there"))
    with pytest.raises(ConfigError, match="asks for num_cpus=8 and num_gpus=0, but no node .* num_cpus=2 and"):
        Tasks(launcher(num_cpus=8))


def test_a_worker_takes_its_code_from_the_snapshot_though_ray_puts_another_folder_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the pickler that Ray has a copy of; the code of the folder where the sweep was started is broken by now."""
    run, package = tmp_path / "run", tmp_path / "snapshot" / "vgg_sweep"
    for file, text in {
        run / "config.yaml": "",
        package / "__init__.py": "",
        package / "sweep" / "__init__.py": "",
        package / "sweep" / "work.py": "def main(folder):\n    folder.joinpath('done').touch()\n",
        tmp_path / "checkout" / "vgg_sweep" / "__init__.py": "1 / 0",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    (tmp_path / "task").write_bytes(cloudpickle.dumps(worker_code()))
    monkeypatch.setenv("PYTHONPATH", "")
    worker = f"""
        import pathlib, pickle, sys
        sys.path.insert(0, {str(tmp_path / "checkout")!r})
        pickle.loads(pathlib.Path({str(tmp_path / "task")!r}).read_bytes())("run", {str(tmp_path)!r})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(worker)], check=True)
    assert (run / "done").exists()
