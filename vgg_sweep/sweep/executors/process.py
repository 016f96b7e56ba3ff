"""Runs on this machine: each in a process of its own, on cores or a GPU of its own; no end of one touches another."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO

from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunLocked
from vgg_sweep.sweep.driver import Executor
from vgg_sweep.sweep.executors.slots import Slot, hold_gpus

WORKER = (sys.executable, "-m", "vgg_sweep.sweep.work")
TAIL_BYTES = 4000


class Processes(Executor):
    """Processes of `command FOLDER`, as many at once as there are `slots`."""

    def __init__(self, slots: Sequence[Slot], command: Sequence[str] = WORKER) -> None:
        self.num_slots = len(slots)
        self._free, self._command = list(slots), command
        self._children: list[Child] = []

    def submit(self, ready: Iterable[Run]) -> Iterator[Run]:
        for run in ready if self._free else ():
            held = next(((slot, locks) for slot in self._free if (locks := hold_gpus(slot)) is not None), None)
            if held is None:
                return
            slot, locks = held
            self._free.remove(slot)
            yield run
            self._children.append(Child(run, slot, locks, self._command))
            if not self._free:
                return

    def poll(self) -> Iterable[tuple[Run, bool]]:
        for child in [child for child in self._children if child.has_ended()]:
            self._children.remove(child)
            self._free.append(child.slot)
            child.explain_silent_death()
            yield child.run, False

    def cancel(self, *, at_once: bool) -> None:
        for child in self._children:
            child.stop(at_once=at_once)

    def close(self) -> None:
        self.cancel(at_once=False)  # only an error of the driver itself leaves children here


class Child:
    """The process of one run. It leads a session of its own, so that Ctrl-C reaches it only through the driver."""

    def __init__(self, run: Run, slot: Slot, gpu_locks: Sequence[IO[str]], command: Sequence[str]) -> None:
        self.run, self.slot = run, slot
        self._was_asked_to_stop = False
        self._began = time.time()
        with open(run.folder.log, "ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*command, str(run.folder.path)],
                env={**os.environ, "PYTHONFAULTHANDLER": "1", **slot.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno() for lock in gpu_locks],
            )
        for lock in gpu_locks:
            lock.close()  # the process holds it now, and gives it back however it ends

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self, *, at_once: bool) -> None:
        """Ask the process, once, to save and stop; or kill it with all it started."""
        if at_once:
            os.killpg(self._process.pid, signal.SIGKILL)
        elif not self._was_asked_to_stop:
            self._process.send_signal(signal.SIGINT)
        self._was_asked_to_stop = True

    def pass_on(self, number: int) -> None:
        """Hand on a signal by which a scheduler asks for a stop; the process may have had it from there as well."""
        self._was_asked_to_stop = True
        self._process.send_signal(number)

    def explain_silent_death(self) -> None:
        """Write down what is known of an end that the run itself could not write down."""
        if self._was_asked_to_stop or self._process.returncode == 0:
            return
        folder = self.run.folder
        with suppress(RunLocked), folder.locked():  # locked: another driver was quicker and has the run now
            status = read_json(folder.path / "status.json")
            if status.get("state") not in (None, "running") and status["heartbeat"] >= self._began:
                return
            message = self._manner_of_death()
            with open(folder.log, "rb") as log:
                log.seek(max(self._log_start, os.path.getsize(folder.log) - TAIL_BYTES))
                last_words = log.read().decode(errors="replace")
            folder.write_error(f"{message}\nThe end of what it said:\n{last_words}")
            folder.update_status(state="failed", error=message)

    def _manner_of_death(self) -> str:
        code = self._process.returncode
        if code >= 0:
            return f"the process ended with exit code {code} and left no message"
        killed = f"the process was killed by {signal.Signals(-code).name}"
        return f"{killed}, perhaps because memory ran out" if -code == signal.SIGKILL else killed
