"""Runs as processes: parents first, each exactly once, whatever way some of them end."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Protocol

import pytest

from tests.paths import ROOT
from tests.stub import WORKER, lines, make_runs
from vgg_sweep.config import schema
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.driver import drive as drive_sweep
from vgg_sweep.sweep.executors.process import Processes, RunProcess, Slot, hold_gpus, most_at_once, slots, visible_gpus

REPOSITORY = ROOT


def do(runs: list[Run], *, num_slots: int = 2, retries: int = 0, fail_fast: bool = False) -> Agenda:
    agenda = Agenda(runs, retries=retries)
    drive_sweep(agenda, Processes([Slot(1)] * num_slots, WORKER), fail_fast=fail_fast)
    return agenda


class Drive(Protocol):
    def __call__(self, sweep: Path, *, retries: int = 0, gpus: str = "") -> subprocess.Popen[str]: ...


@pytest.fixture
def drive() -> Iterator[Drive]:
    """Starts a driver with two slots in a process of its own; parents.json in the sweep's folder names the runs."""
    drivers: list[subprocess.Popen[str]] = []

    def start(sweep: Path, *, retries: int = 0, gpus: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.stub", "drive", str(sweep), str(retries), gpus]
        drivers.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
        return drivers[-1]

    yield start
    for each in drivers:
        with each:
            each.kill()


def wait_until(what: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_run_starts_when_its_parent_is_done_and_not_before(tmp_path: Path) -> None:
    parents = {"A": None, "B": "A", "C": "A", "D": "B", "E": "D", "F": None}
    do(make_runs(tmp_path, parents), num_slots=3)
    order = [line.split() for line in (tmp_path / "work.log").read_text().splitlines()]
    assert sorted(id for id, what in order if what == "done") == sorted(parents)
    for child, parent in parents.items():
        if parent:
            assert order.index([parent, "done"]) < order.index([child, "began"])


def test_a_child_does_not_wait_for_the_whole_generation(tmp_path: Path) -> None:
    runs = make_runs(
        tmp_path, {"slow": None, "quick": None, "child": "quick"}, {"slow": {"after": "child", "ends": ["done"]}}
    )
    do(runs)
    assert lines(tmp_path, "done") == ["quick", "child", "slow"]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("raise", "told to fail"),
        ("exit", "the process ended with exit code 3 and left no message"),
        ("kill", "the process was killed by SIGKILL, perhaps because it ran out of memory"),
        ("segfault", "the process was killed by SIGSEGV"),
    ],
)
def test_an_end_of_any_kind_touches_only_the_runs_that_start_from_it(tmp_path: Path, end: str, message: str) -> None:
    runs = make_runs(
        tmp_path, {"bad": None, "child": "bad", "grandchild": "child", "good": None}, {"bad": {"ends": [end]}}
    )
    agenda = do(runs)
    assert agenda.states == {"bad": "failed", "child": "blocked", "grandchild": "blocked", "good": "done"}
    assert agenda.culprit(runs[2]) is runs[0]
    bad = RunFolder(tmp_path / "bad")
    assert bad.status()["error"] == message
    assert message in bad.error.read_text()
    if end == "segfault":
        assert "string_at" in bad.error.read_text(), "the stack at the fault is kept"


def test_what_failed_is_left_alone_until_retries_are_given(tmp_path: Path) -> None:
    orders = {"bad": {"ends": ["raise", "kill", "done"]}}
    parents = {"bad": None, "child": "bad"}
    assert do(make_runs(tmp_path, parents, orders)).states == {"bad": "failed", "child": "blocked"}
    assert do(make_runs(tmp_path, parents)).states == {"bad": "failed", "child": "blocked"}
    assert lines(tmp_path, "began") == ["bad"]
    assert do(make_runs(tmp_path, parents), retries=1).states == {"bad": "failed", "child": "blocked"}
    assert lines(tmp_path, "began") == ["bad", "bad"]
    assert do(make_runs(tmp_path, parents), retries=3).states == {"bad": "done", "child": "done"}
    assert lines(tmp_path, "began") == ["bad", "bad", "bad", "child"]


def test_retries_are_counted_within_one_command_too(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, {"bad": None}, {"bad": {"ends": ["raise"]}})
    assert do(runs, retries=2).states == {"bad": "failed"}
    assert lines(tmp_path, "began") == ["bad"] * 3


def test_fail_fast_stops_the_others_after_they_have_saved(tmp_path: Path) -> None:
    orders = {"long": {"seconds": 60, "ends": ["done"]}, "bad": {"seconds": 2, "ends": ["raise"]}}
    agenda = do(make_runs(tmp_path, {"long": None, "bad": None, "later": None}, orders), fail_fast=True)
    assert agenda.states == {"long": "interrupted", "bad": "failed", "later": "waiting"}


def test_ctrl_c_lets_the_runs_save_and_the_same_command_goes_on(tmp_path: Path, drive: Drive) -> None:
    parents = {"long": None, "child": "long"}
    make_runs(tmp_path, parents, {"long": {"seconds": 60, "ends": ["done"]}})
    (tmp_path / "parents.json").write_text(json.dumps(parents))
    first = drive(tmp_path)
    wait_until(lambda: lines(tmp_path, "began") == ["long"])
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=20)
    assert first.returncode == 130
    assert json.loads(output) == {"long": "interrupted", "child": "waiting"}
    (tmp_path / "long" / "orders.json").write_text('{"ends": ["done"]}')
    assert do(make_runs(tmp_path, parents)).states == {"long": "done", "child": "done"}


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path, drive: Drive) -> None:
    make_runs(tmp_path, {"deaf": None}, {"deaf": {"seconds": 60, "ends": ["done"]}})
    (tmp_path / "parents.json").write_text('{"deaf": null}')
    first = drive(tmp_path)
    wait_until(lambda: lines(tmp_path, "began") == ["deaf"])
    deaf = RunFolder(tmp_path / "deaf")
    os.kill(deaf.status()["pid"], signal.SIGSTOP)  # so that it cannot react to the first
    first.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=10)
    assert first.returncode == 130
    assert deaf.status()["state"] == "interrupted"


def test_two_drivers_share_the_work(tmp_path: Path, drive: Drive) -> None:
    parents = {f"run{i}": f"run{i // 2}" if i > 2 else None for i in range(8)}
    make_runs(tmp_path, parents, {id: {"seconds": 0.2, "ends": ["done"]} for id in parents})
    (tmp_path / "parents.json").write_text(json.dumps(parents))
    drivers = [drive(tmp_path), drive(tmp_path)]
    for each in drivers:
        output, _ = each.communicate(timeout=60)
        assert each.returncode == 0
        assert set(json.loads(output).values()) == {"done"}
    assert sorted(lines(tmp_path, "began")) == sorted(parents)


def test_runs_outlive_a_killed_driver_and_the_next_one_waits_for_them(tmp_path: Path, drive: Drive) -> None:
    parents = {"long": None, "child": "long"}
    make_runs(tmp_path, parents, {"long": {"seconds": 3, "ends": ["done"]}})
    (tmp_path / "parents.json").write_text(json.dumps(parents))
    first = drive(tmp_path)
    wait_until(lambda: lines(tmp_path, "began") == ["long"])
    first.kill()
    first.communicate()
    assert do(make_runs(tmp_path, parents)).states == {"long": "done", "child": "done"}
    assert lines(tmp_path, "began") == ["long", "child"]


def pid_at_work(folder: Path) -> int | None:
    status = RunFolder(folder).status()
    return status["pid"] if status.get("state") == "running" else None


def test_chaos(tmp_path: Path, drive: Drive) -> None:
    """Random ends of random runs, two drivers at once, one of them killed: in the end each run was done once."""
    num_runs = int(os.environ.get("CHAOS_RUNS", 30))
    patience = 100 + 10 * num_runs
    draw = random.Random(num_runs)
    parents: dict[str, str | None] = {}
    orders = {}
    for i in range(num_runs):
        parents[f"run{i}"] = f"run{draw.randrange(i)}" if i and draw.random() < 0.7 else None
        ends = [draw.choice(["raise", "exit", "kill", "segfault"]), "done"] if draw.random() < 0.2 else ["done"]
        orders[f"run{i}"] = {"seconds": draw.random() / 5, "ends": ends}
    make_runs(tmp_path, parents, orders)
    (tmp_path / "parents.json").write_text(json.dumps(parents))

    doomed, survivor = drive(tmp_path), drive(tmp_path)
    wait_until(lambda: len(lines(tmp_path, "done")) >= num_runs // 6, seconds=patience)
    at_work: list[int] = []
    wait_until(lambda: at_work.extend(pid for id in parents if (pid := pid_at_work(tmp_path / id))) or at_work)
    with suppress(ProcessLookupError):  # it was done meanwhile
        os.kill(at_work[0], signal.SIGKILL)
    doomed.kill()
    doomed.communicate()
    states = json.loads(survivor.communicate(timeout=patience)[0])

    culprits = {id for id, state in states.items() if state == "failed"}
    assert culprits
    for id, state in states.items():
        blocked = parents[id] is not None and states[parents[id]] != "done"  # type: ignore[index]
        assert state == ("blocked" if blocked else "failed" if id in culprits else "done")

    rest = drive(tmp_path, retries=2)
    output, _ = rest.communicate(timeout=patience)
    assert rest.returncode == 0, output
    assert Counter(lines(tmp_path, "done")) == Counter(list(parents))


def config(**settings: object) -> schema.Config:
    return schema.Config(protocol=schema.Protocol("none", []), **settings)  # type: ignore[arg-type]


SMALL = {"crop": 64, "width": 0.125}


@pytest.mark.parametrize(
    ("settings", "gpus", "expected"),
    [
        (SMALL, [], [Slot(1)] * 4),
        ({**SMALL, "jobs": "2"}, [], [Slot(2)] * 2),
        ({**SMALL, "threads": 2}, [], [Slot(2)] * 2),
        ({}, [], [Slot(4)]),
        ({}, ["0", "1"], [Slot(2, ("0",)), Slot(2, ("1",))]),
        ({"jobs": "1"}, ["0", "1"], [Slot(4, ("0",))]),
        ({"jobs": "4"}, ["3", "5"], [Slot(1, (gpu,), shared=True) for gpu in ("3", "5", "3", "5")]),
        ({"devices": 2}, ["0", "1", "2", "3", "4"], [Slot(1, ("0", "1")), Slot(1, ("2", "3"))]),
        ({"devices": 2}, ["6", "7"], [Slot(2, ("6", "7"))]),
        ({"devices": 2, "jobs": "2"}, ["6", "7"], [Slot(1, ("6", "7"), shared=True)] * 2),
        ({**SMALL, "devices": 2}, [], [Slot(1), Slot(1)]),
        ({"devices": 2}, [], [Slot(2)]),
        ({**SMALL, "device": "cpu"}, ["0"], [Slot(1)] * 4),
        ({"device": "cuda:1"}, ["0", "1"], [Slot(4)]),
    ],
)
def test_slots_of_nine_runs_on_four_cores(
    settings: dict[str, object], gpus: list[str], expected: list[Slot], tmp_path: Path
) -> None:
    runs = make_runs(tmp_path, {f"run{i}": None for i in range(9)})
    assert slots(config(**settings), runs, num_cores=4, gpus=gpus) == expected


def test_a_run_of_more_gpus_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="devices=3 is more than the 2 GPUs here; use devices=2"):
        slots(config(devices=3), make_runs(tmp_path, {"A": None}), num_cores=4, gpus=["0", "1"])


def test_a_run_sees_the_gpus_of_its_slot() -> None:
    assert Slot(2, ("3", "5")).environment["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert "CUDA_VISIBLE_DEVICES" not in Slot(2).environment
    assert Slot(2).environment["OMP_NUM_THREADS"] == "2"


def test_no_more_slots_than_runs_that_can_run_at_once(tmp_path: Path) -> None:
    chain = make_runs(tmp_path, {"A": None, "D": "A", "D-384": "D"})
    assert slots(config(**SMALL), chain, num_cores=4, gpus=[]) == [Slot(4)]
    family = make_runs(tmp_path, {"A": None, "D": "A", "E": "A", "D-384": "D", "E-384": "E"})
    assert most_at_once(family) == 2
    assert most_at_once(family[3:]) == 2


def test_gpus_are_those_that_cuda_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H100 (UUID: GPU-2)'\n")
    program.chmod(0o755)
    assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize(("one", "other"), [("7", "7"), ("6 7", "7 8")])
def test_two_drivers_never_give_one_gpu_to_two_runs(
    one: str, other: str, tmp_path: Path, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if their groups of GPUs have only one in common."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sweeps = {tmp_path / "one": one, tmp_path / "other": other}
    for sweep in sweeps:
        orders = {"seconds": 0.2, "ends": ["done"]}
        make_runs(sweep, {f"{sweep.name}{i}": None for i in range(3)}, {f"{sweep.name}{i}": orders for i in range(3)})
        (sweep / "parents.json").write_text(json.dumps({f"{sweep.name}{i}": None for i in range(3)}))
    drivers = [drive(sweep, gpus=gpus) for sweep, gpus in sweeps.items()]
    for each in drivers:
        each.communicate(timeout=60)
        assert each.returncode == 0
    spans = sorted(
        (folder.status()["started"], folder.status()["heartbeat"])
        for sweep in sweeps
        for folder in map(RunFolder, sweep.glob("o*"))
    )
    assert len(spans) == 6
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_the_gpus_of_a_run_are_kept_while_any_of_its_processes_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With devices=2 the run's own process may be killed while those that it started go on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    slot = Slot(1, ("6", "7"))
    [run] = make_runs(tmp_path, {"A": None})
    survivor = "import subprocess; subprocess.Popen(['sleep', '2'], close_fds=False)"
    child = RunProcess(run, slot, hold_gpus(slot) or [], [sys.executable, "-c", survivor])
    wait_until(child.has_ended)
    assert hold_gpus(slot) is None and hold_gpus(Slot(1, ("7", "8"))) is None
    locks: list[IO[str]] = []
    wait_until(lambda: locks.extend(hold_gpus(slot) or []) or locks)
    for lock in locks:
        lock.close()
