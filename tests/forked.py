"""Processes that are ready at once: forked from one that has imported what a run needs, which takes two seconds."""

import faulthandler
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from vgg_sweep.machine import ranks
from vgg_sweep.sweep import work
from vgg_sweep.sweep.executors import process

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.conftest", "vgg_sweep.sweep.attempt"])


def start_worker(folder: Path) -> BaseProcess:
    """A process that works on the run in `folder`, as `python -m vgg_sweep.sweep.work` does."""
    worker = FORKED.Process(target=_work, args=(folder,))
    worker.start()
    return worker


def _work(folder: Path) -> None:
    sys.exit(work.main(folder))


class Popen:
    """What `subprocess.Popen` is to a sweep, for `python -m MODULE WORD...`."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], stdout: IO[bytes], pass_fds: Sequence[int], **_: object
    ) -> None:
        assert list(command[:2]) == [sys.executable, "-m"] and not pass_fds, "such a process is not forked"
        self._process = FORKED.Process(target=_run_module, args=(list(command[2:]), dict(env), stdout.name))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.pid is not None and self.poll() is None:
            os.kill(self.pid, number)


def _run_module(words: list[str], env: dict[str, str], log: str) -> None:
    """Be `python -m` with these words, in a session of its own, whose words go to the end of the file `log`."""
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    with open(log, "ab") as file, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        for place in (1, 2):
            os.dup2(file.fileno(), place)
    faulthandler.enable()
    sys.argv = sys.orig_argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def fork_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep that this process drives fork its runs."""
    monkeypatch.setattr(process, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": Popen}))


def fork_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run of several processes fork them, in place of `machine.launch`, which has torchrun start them."""
    monkeypatch.setattr(work, "launch", _launch)


def _launch(folder: Path, log: Path, num_devices: int, *, live: bool) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [FORKED.Process(target=_rank, args=(folder, rank, num_devices, port)) for rank in range(num_devices)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(120)
    return max(each.exitcode or 0 for each in processes)


def _rank(folder: Path, rank: int, num_ranks: int, port: int) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    ranks.PARENT = os.getppid()
    _work(folder)
