"""The driver alone, over an executor that does nothing."""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.stub import make_runs
from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.driver import Executor, Stopped, drive


class Still(Executor):
    """Holds its runs until they were asked twice; two signals come, with time between them."""

    def __init__(self) -> None:
        self.polls = 0
        self.runs: list[Run] = []
        self.asked: list[tuple[str, bool]] = []

    def submit(self, ready: Iterable[Run]) -> Iterator[Run]:
        for run in ready:
            yield run
            self.runs.append(run)

    def poll(self) -> Iterable[tuple[Run, bool]]:
        self.polls += 1
        if self.polls in (2, 6):
            os.kill(os.getpid(), signal.SIGINT)
        ended, self.runs = (self.runs, []) if self.polls == 10 else ([], self.runs)
        return [(run, False) for run in ended]

    def cancel(self, runs: Sequence[Run], *, at_once: bool) -> None:
        self.asked += [(run.id, at_once) for run in runs]


def test_each_run_is_asked_to_stop_once_and_then_killed_once(tmp_path: Path) -> None:
    executor = Still()
    with pytest.raises(Stopped, match="SIGINT"):
        drive(Agenda(make_runs(tmp_path, {"A": None, "B": None, "C": "A"})), executor)
    assert executor.asked == [("A", False), ("B", False), ("A", True), ("B", True)]
