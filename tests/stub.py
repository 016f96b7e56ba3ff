"""Runs without nets, to test what drives runs. `python -m tests.stub work FOLDER` stands for `vgg_sweep.sweep.work`.

Each run obeys its orders.json: {"seconds": how long an attempt takes, "after": the run that has to be done before it
ends, "ends": how attempts end, the last for all later ones}. Every attempt that begins or is completed adds a line to
work.log beside the run folders.
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Protocol
from vgg_sweep.errors import RunError
from vgg_sweep.plan.folders import read_run
from vgg_sweep.plan.passes import missing, passes
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.folder import RunFolder, RunLocked
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.driver import Stopped
from vgg_sweep.sweep.driver import drive as drive_sweep
from vgg_sweep.sweep.executors.process import Processes, Slot

WORKER = (sys.executable, "-m", "tests.stub", "work")


def make_runs(sweep: Path, parents: Mapping[str, str | None], orders: Mapping[str, object] | None = None) -> list[Run]:
    """Runs named by the keys of `parents`, in that order, in the folder `sweep`; one without orders ends well."""
    runs: dict[str, Run] = {}
    for id, parent in parents.items():
        config = Config(model=load_option("model", "A"), out=str(sweep), protocol=Protocol("none", []))
        runs[id] = Run(id, config, runs[parent] if parent is not None else None)
        folder = sweep / id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        if orders and id in orders:
            write_json(folder / "orders.json", orders[id])
    return list(runs.values())


EVERY_STATE = {
    "A": "done",
    "B": "new",
    "C": "blocked",
    "D": "blocked",
    "bad": "failed",
    "cut": "interrupted",
    "new": "new",
}


def make_every_state(sweep: Path) -> list[Run]:
    """Runs in the states of `EVERY_STATE`; `cut` is one whose process died."""
    parents = {"A": None, "bad": None, "B": "A", "C": "bad", "D": "C", "cut": None, "new": None}
    runs = make_runs(sweep, parents)
    for run in runs[:5]:
        run.folder.update_status(state="new", parent=parents[run.id])
    RunFolder(sweep / "A").update_status(state="done")
    RunFolder(sweep / "A").weights.touch()
    RunFolder(sweep / "bad").update_status(state="failed", error="out of luck\nsecond line")
    RunFolder(sweep / "cut").update_status(
        state="running", stage="train", step=30, num_steps=40, loss=1.25, train_error=60.0, val_error=40.0
    )
    return runs


def lines(sweep: Path, word: str) -> list[str]:
    """The ids of the runs whose attempts began or were done, in the order in which that happened."""
    log = sweep / "work.log"
    return [id for id, what in map(str.split, log.read_text().splitlines()) if what == word] if log.exists() else []


def work(folder: RunFolder) -> int:
    """One attempt at a run. Returns the exit code, if it gets so far."""
    with folder.locked():
        config = read_run(folder).config if folder.config.stat().st_size else Config(protocol=Protocol("none", []))
        if folder.status().get("state") == "done" and not missing(folder, config):
            return 0
        orders = read_json(folder.path / "orders.json") or {"ends": ["done"]}
        attempt = lines(folder.path.parent, "began").count(folder.id)
        folder.update_status(state="running", started=time.time(), stage="train", step=attempt, num_steps=10)
        _log(folder, "began")
        try:
            time.sleep(orders.get("seconds", 0))
            while "after" in orders and orders["after"] not in lines(folder.path.parent, "done"):
                time.sleep(0.02)
        except KeyboardInterrupt:
            folder.update_status(state="interrupted")
            return 130
        end = orders["ends"][min(attempt, len(orders["ends"]) - 1)]
        if end == "raise":
            folder.update_status(state="failed", error="told to fail")
            folder.error.write_text("told to fail")
            return 1
        if end == "exit":
            sys.exit(3)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "segfault":
            ctypes.string_at(0)
        finish(folder, config)
        _log(folder, "done")
        return 0


def finish(folder: RunFolder, config: Config) -> None:
    """Leave what a run leaves that was trained and scored."""
    folder.posteriors.mkdir(exist_ok=True)
    folder.weights.touch()
    write_json(folder.posteriors / "manifest.json", {"files": [_scored(folder, each) for each in passes(config)]})
    folder.update_status(state="done")


def _scored(folder: RunFolder, each: Pass) -> dict[str, object]:
    """Posteriors of one image and class, and their entry in the manifest."""
    import numpy as np  # not for runs without passes: a worker begins twice as quickly

    file = folder.posteriors / f"{each.name}.npy"
    np.save(file, np.ones((1, 1), np.float32))
    return asdict(each) | {"file": file.name, "N": 1, "K": 1}


def _log(folder: RunFolder, what: str) -> None:
    with open(folder.path.parent / "work.log", "a") as log:
        log.write(f"{folder.id} {what}\n")


def drive(sweep: Path, retries: int, gpus: str) -> int:
    """Work on the runs that `parents.json` in `sweep` names, as a driver with two slots does; prints the states."""
    runs = make_runs(sweep, json.loads((sweep / "parents.json").read_text()))
    agenda = Agenda(runs, retries=retries)
    try:
        drive_sweep(agenda, Processes([Slot(1, tuple(gpus.split()))] * 2, WORKER))
    except Stopped as stopped:
        return stopped.exit_code
    finally:
        print(json.dumps(agenda.states))
    return 0 if set(agenda.states.values()) == {"done"} else 1


def multirun(overrides: Sequence[str]) -> int:
    """`vgg-sweep multirun`, with runs that obey orders.json instead of training."""
    from vgg_sweep.cli import compose, sweeper

    sweeper.Processes = partial(Processes, command=WORKER)  # type: ignore[assignment,misc]
    try:
        compose.multirun(_no_job, list(overrides), compose.Flags())
    except RunError as error:
        print(error)
        return 1
    return 0


def _no_job(raw: DictConfig) -> None:
    raise AssertionError("runs have processes of their own")


def main(arguments: Sequence[str]) -> int:
    if arguments[0] == "drive":
        return drive(Path(arguments[1]), int(arguments[2]), arguments[3])
    if arguments[0] == "multirun":
        return multirun(arguments[1:])
    try:
        return work(RunFolder(Path(arguments[1])))
    except RunLocked:
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
