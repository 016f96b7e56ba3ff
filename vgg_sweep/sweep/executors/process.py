"""Runs on this machine: each in a process of its own, on cores or GPUs of its own; no failure affects another."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunLocked
from vgg_sweep.sweep.driver import Executor

SMALL_NET_PX = 64
"""Nets whose width times crop is less than this leave cores idle when they have several."""


@dataclass(frozen=True)
class Slot:
    """Room for one run at a time: CPU threads for each of its processes, and GPUs that it has alone unless `shared`."""

    threads: int
    gpus: tuple[str, ...] = ()
    shared: bool = False

    @property
    def environment(self) -> dict[str, str]:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        return limits | {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else limits


def slots(config: Config, runs: Sequence[Run], num_cores: int, gpus: Sequence[str]) -> list[Slot]:
    """The slots for the `runs` that are left to do, on a machine with `num_cores` and `gpus`; `config` has `jobs`,
    `device`, `devices` and `threads`.

    `jobs=auto` is a run for each GPU, or for each `devices` GPUs, or for each core if the nets are small: two processes
    of one thread each got 1.2 times as much done as one of two threads. A greater number asks for runs that share GPUs.
    Raises `ConfigError` if a run wants more GPUs than there are.
    """
    if config.device not in ("auto", "cuda"):  # a GPU named by the user is found by the run under the same name
        gpus = ()
    if gpus and config.devices > len(gpus):
        raise ConfigError(f"devices={config.devices} is more than the {len(gpus)} GPUs here; use devices={len(gpus)}.")
    groups = [tuple(gpus[first : first + config.devices]) for first in range(0, len(gpus), config.devices)]
    groups = [group for group in groups if len(group) == config.devices] or [()]
    if config.jobs != "auto":
        num_jobs = int(config.jobs)
    elif gpus:
        num_jobs = len(groups)
    elif config.device in ("auto", "cpu") and config.width * config.crop < SMALL_NET_PX:
        num_jobs = max(1, num_cores // (max(1, config.threads) * config.devices))
    else:
        num_jobs = 1
    num_jobs = min(num_jobs, most_at_once(runs))
    threads = config.threads or max(1, num_cores // (num_jobs * config.devices))
    shared = bool(gpus) and num_jobs > len(groups)
    return [Slot(threads, groups[job % len(groups)], shared) for job in range(num_jobs)]


def most_at_once(runs: Sequence[Run]) -> int:
    """How many of `runs` could run at the same time at most: the largest generation."""
    generation: dict[str, int] = {}
    for run in runs:
        generation[run.id] = generation.get(run.parent.id, -1) + 1 if run.parent else 0
    return max(Counter(generation.values()).values(), default=1)


def visible_gpus() -> list[str]:
    """The GPUs this process may use, in the words of CUDA_VISIBLE_DEVICES."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    try:
        listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return [str(index) for index in range(sum(line.startswith("GPU") for line in listing.splitlines()))]


def hold_gpus(slot: Slot) -> list[IO[str]] | None:
    """The locked files that keep others off the GPUs of `slot`; None if another has one of them."""
    locks: list[IO[str]] = []
    for gpu in slot.gpus:
        name = f"vgg-sweep-{os.getuid()}-gpu-{gpu.replace('/', '_')}.lock"
        locks.append(open(Path(tempfile.gettempdir()) / name, "w", encoding="utf-8"))
        try:
            fcntl.flock(locks[-1], (fcntl.LOCK_SH if slot.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            for lock in locks:
                lock.close()
            return None
    return locks


WORKER = (sys.executable, "-m", "vgg_sweep.sweep.work")
TAIL_BYTES = 4000


class Processes(Executor):
    """Processes of `command FOLDER`, as many at once as there are `slots`."""

    def __init__(self, slots: Sequence[Slot], command: Sequence[str] = WORKER) -> None:
        self.num_slots = len(slots)
        self._free, self._command = list(slots), command
        self._children: list[RunProcess] = []

    def submit(self, ready: Iterable[Run]) -> Iterator[Run]:
        for run in ready if self._free else ():
            held = next(((slot, locks) for slot in self._free if (locks := hold_gpus(slot)) is not None), None)
            if held is None:
                return
            slot, locks = held
            self._free.remove(slot)
            yield run
            self._children.append(RunProcess(run, slot, locks, self._command))
            if not self._free:
                return

    def poll(self) -> Iterable[tuple[Run, bool]]:
        for child in [child for child in self._children if child.has_ended()]:
            self._children.remove(child)
            self._free.append(child.slot)
            child.explain_silent_death()
            yield child.run, False

    def cancel(self, runs: Sequence[Run], *, at_once: bool) -> None:
        for child in self._children:
            if child.run in runs:
                child.stop(at_once=at_once)

    def close(self) -> None:
        for child in self._children:  # only an error of the driver itself leaves some here
            child.stop(at_once=False)


class RunProcess:
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
        """Pass on a scheduler's stop signal; the process may have received it from there as well."""
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
            folder.fail(message, f"{message}\nThe end of what it said:\n{last_words}")

    def _manner_of_death(self) -> str:
        code = self._process.returncode
        if code >= 0:
            return f"the process ended with exit code {code} and left no message"
        killed = f"the process was killed by {signal.Signals(-code).name}"
        return f"{killed}, perhaps because it ran out of memory" if -code == signal.SIGKILL else killed
