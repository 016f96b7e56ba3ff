"""The driver of a sweep: starts each run as soon as its parent is done, and stops them all when asked to."""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.agenda import FAILED, Agenda

POLL_SECONDS = 0.05
OURS = ("running", "stopping")
"""The states of runs that an executor of ours has."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A signal asked the sweep to stop; its runs have saved and stopped."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Executor(ABC):
    """Where the runs of a sweep are done: processes of this machine, jobs of Slurm, tasks of Ray, a Hydra launcher."""

    num_slots: int | None = None
    """How many runs can be at work at once; None where nobody knows."""
    poll_seconds = POLL_SECONDS
    """The wait between two polls."""
    stop_signals: Sequence[int] = STOP_SIGNALS
    """The signals that the driver answers. It leaves the others to the executor."""

    @abstractmethod
    def submit(self, ready: Iterable[Run]) -> Iterator[Run]:
        """Start as many of the `ready` runs as there is room for. Yields each before it starts.

        Raises `ConfigError` if no run can be started with these settings, `Stopped` if a signal ended the runs.
        """

    @abstractmethod
    def poll(self) -> Iterable[tuple[Run, bool]]:
        """The runs whose attempt has ended, each once, and whether it ended through no fault of the run.

        What is known of an end that the run could not write down itself is written into its folder.
        """

    def cancel(self, runs: Sequence[Run], *, at_once: bool) -> None:  # noqa: B027 (waves have nothing to cancel)
        """Ask these runs to save and stop, or kill them; each is asked once. `poll` tells when they have ended."""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Called when the driver ends, however it ends."""


def drive(agenda: Agenda, executor: Executor, *, fail_fast: bool = False) -> None:
    """Do every run of `agenda` with `executor`.

    Returns when all are settled; how is in `agenda`. After SIGINT or SIGTERM the runs save and stop, then `Stopped`
    is raised; a second one kills them. `fail_fast` stops the same way after the first failure, but returns.
    """
    asked: set[tuple[str, bool]] = set()
    with _received(executor.stop_signals) as received:
        try:
            while True:
                for run, is_to_be_repeated in executor.poll():
                    (agenda.gives_back if is_to_be_repeated else agenda.ends)(run)
                is_stopping = bool(received) or (fail_fast and bool(agenda.in_state(*FAILED)))
                if is_stopping:
                    at_once = len(received) > 1
                    runs = [each for each in agenda.in_state(*OURS) if (each.id, at_once) not in asked]
                    executor.cancel(runs, at_once=at_once)
                    asked |= {(run.id, at_once) for run in runs}
                    for run in agenda.in_state("running"):
                        agenda.stops(run)
                else:
                    for run in executor.submit(agenda.ready()):
                        agenda.starts(run)
                if not agenda.in_state(*OURS) and (is_stopping or agenda.is_settled):
                    break
                time.sleep(executor.poll_seconds)
        finally:
            executor.close()
    if received:
        raise Stopped(received[0])


@contextmanager
def _received(numbers: Sequence[int]) -> Iterator[list[int]]:
    """The signals of these numbers that have come, in a list that grows."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before: Mapping[int, object] = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
