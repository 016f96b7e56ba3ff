"""Runs as submitit jobs, on Slurm or on this machine.

Hydra's submitit launcher would wait for all its jobs, for ever if one was cancelled where Slurm has no accounting. So
only its settings are used. The queue outlives its driver: a job's id lies in the run's folder, where
the next driver finds it.
"""

import getpass
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from types import FrameType
from typing import Any

from hydra.plugins.launcher import Launcher

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunLocked
from vgg_sweep.runs.progress import STOP_SIGNALS, WARNINGS
from vgg_sweep.sweep.agenda import FAILED, found_state
from vgg_sweep.sweep.driver import POLL_SECONDS, Executor
from vgg_sweep.sweep.executors.process import WORKER, RunProcess, Slot

LOOK_SECONDS = 3.0
"""How often the queue is asked what became of jobs."""
MAX_ARRAY = 1000
"""Jobs in one array: Slurm's own default limit."""
STOPPED = ("CANCELLED", "TIMEOUT", "DEADLINE")
"""Ends of jobs by someone's or something's wish: their runs are interrupted, not failed."""
NOT_ITS_FAULT = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
"""Ends after which a run is queued again, where Slurm has not done so by itself."""
ENDED = (*STOPPED, *NOT_ITS_FAULT, "COMPLETED", "FAILED", "OUT_OF_MEMORY")


def is_submitit(launcher: Launcher) -> bool:
    """Whether Hydra was asked for `submitit_slurm`, `submitit_local`, or a configuration made of one."""
    return type(launcher).__module__.startswith("hydra_plugins.hydra_submitit_launcher.")


class Queue(Executor):
    """The jobs of one of submitit's executors, set up as `launcher` is. A job's name is its cluster and id: slurm 7_2.

    Jobs that an earlier driver has queued are taken over. Raises `ConfigError` if there is no such queue here or
    `launcher` has a setting that it does not know.
    """

    poll_seconds = 0.5
    """How often the folders, which may lie far away, are asked what became of runs."""

    def __init__(self, launcher: Launcher, command: Sequence[str] = WORKER) -> None:
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
        from submitit import AutoExecutor

        settings = dict(launcher.params)  # type: ignore[attr-defined]
        self._cluster: str = launcher._EXECUTOR  # type: ignore[attr-defined]
        self._folder: str = settings.pop("submitit_folder")
        self._job = Job(command)
        everywhere = {each.name for each in fields(BaseQueueConf)}
        named = {name if name in everywhere else f"{self._cluster}_{name}": settings[name] for name in settings}
        limits = {name: named.pop(name) for name in list(named) if name.endswith("_max_num_timeout")}
        try:
            self._executor = AutoExecutor(self._folder, cluster=self._cluster, **limits)
            self._executor.update_parameters(**named)
        except RuntimeError as error:
            raise ConfigError(
                "Slurm is not on this machine (there is no srun); start the sweep on a login node of the cluster, "
                "or leave hydra/launcher out."
            ) from error
        except (AssertionError, NameError, ValueError) as error:
            raise ConfigError(f"hydra.launcher: {' '.join(str(error).split())}") from error
        self._at_work: dict[str, Run] = {}
        self._of_this_driver: dict[str, Any] = {}
        self._states: dict[str, str] = {}
        self._answers = True
        self._looked_at = 0.0

    def submit(self, ready: Iterable[Run]) -> Iterator[Run]:
        """Queue every run; raises `ConfigError` if the queue refuses the first jobs, `RunError` if later ones."""
        if runs := list(ready):
            yield from runs
            jobs = self.take(runs)
            self._at_work |= {jobs[run.id]: run for run in runs}

    def poll(self) -> Iterable[tuple[Run, bool]]:
        for job, run in list(self._at_work.items()):
            end = self.end_of(job)
            if end is not None or found_state(run) == "done":
                del self._at_work[job]
                yield run, found_state(run) != "done" and self._is_to_be_repeated(run, job, end or "")

    def cancel(self, runs: Sequence[Run], *, at_once: bool) -> None:
        names = [name for name, run in self._at_work.items() if run in runs]
        if self._cluster == "slurm" and names:
            how = ["--signal=KILL"] if at_once else []
            subprocess.run(["scancel", *how, *(name.split()[1] for name in names)], check=False)
        for name in names:
            if self._cluster != "slurm" and name in self._of_this_driver:
                self._of_this_driver[name].cancel(check=False)

    def close(self) -> None:
        """Wait for the last steps of jobs on this machine, so that none outlives a driver that has ended well."""
        if self._cluster != "slurm" and not self._at_work:
            while not all(job.done() for job in self._of_this_driver.values()):
                time.sleep(POLL_SECONDS)

    def take(self, runs: Sequence[Run]) -> dict[str, str]:
        """The job of each of `runs`: that which an earlier driver has queued, or a new one, in an array if many are."""
        self._look()
        queued = {run.id: name for run in runs if self._is_alive(name := run.folder.job)}
        new = [run for run in runs if run.id not in queued]
        for first in range(0, len(new), MAX_ARRAY):
            array = new[first : first + MAX_ARRAY]
            for run, name in zip(array, self._submit(array), strict=True):
                run.folder.note(job=name)
                queued[run.id] = name
        return queued

    def end_of(self, name: str) -> str | None:
        """How a job ended in Slurm's words, empty if that is forgotten; None while it is queued or runs, and as long as
        the queue does not answer.
        """
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._look()
        return self._states.get(name, "") if self._answers and not self._is_alive(name) else None

    def _is_to_be_repeated(self, run: Run, job: str, end: str) -> bool:
        """Whether the job of a run that is not done just has to start again. Else write down why the run is not done,
        unless it has done so itself.
        """
        folder = run.folder
        with suppress(RunLocked), folder.locked():  # locked: another driver's job has the run now
            own_word = read_json(folder.path / "status.json").get("state", "new")
            if own_word in ("done", *FAILED):
                return False
            if end in NOT_ITS_FAULT:
                return True
            message = f"its job, {job}, has ended{f' as {end}' * bool(end)}"
            if end in STOPPED:
                folder.update_status(state="interrupted", error=message)
            elif own_word != "interrupted":
                folder.fail(f"{message}; the run left no message", f"{message}.\n{self._last_words(job)}")
        return False

    def _last_words(self, name: str) -> str:
        """The end of what a job said on stderr."""
        from submitit.core.utils import JobPaths

        with suppress(OSError):
            return JobPaths(self._folder, name.split()[1]).stderr.read_text(encoding="utf-8", errors="replace")[-4000:]
        return ""

    def _submit(self, runs: Sequence[Run]) -> list[str]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            jobs = self._executor.map_array(self._job, runs)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            kind = RunError if self._of_this_driver else ConfigError
            words = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).strip().splitlines())
            raise kind(f"Slurm refuses the jobs ({words}); change hydra.launcher's settings.") from error
        named = {f"{self._cluster} {job.job_id}": job for job in jobs}
        self._of_this_driver |= named
        self._looked_at = -LOOK_SECONDS  # what was seen before says nothing of these
        return list(named)

    def _is_alive(self, name: str) -> bool:
        return self._states.get(name, "FAILED") not in ENDED

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        if self._cluster != "slurm":
            self._states = {
                name: "COMPLETED" if job.done() else "RUNNING" for name, job in self._of_this_driver.items()
            }
            return
        words = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--user={getpass.getuser()}"]
        answer = subprocess.run(words, capture_output=True, text=True)
        pairs = (line.split() for line in answer.stdout.splitlines())
        self._states = {f"slurm {id}": state for id, state in pairs}
        self._answers = answer.returncode == 0


class Job:
    """What a job does: a run, in a process of its own; and back into the queue when its time is up."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command

    def __call__(self, run: Run) -> None:
        """Raises `RunError` if the run is not done, so that the queue shows the job as failed."""
        if run.folder.is_locked() or found_state(run) == "done":
            return  # another driver's job was quicker
        came: list[int] = []
        num_cores = int(os.environ.get("SLURM_CPUS_PER_TASK", 1))
        threads = run.config.threads or max(1, num_cores // run.config.devices)
        child = RunProcess(run, Slot(threads), (), self.command)

        def pass_on(number: int, frame: FrameType | None) -> None:
            came.append(number)
            child.pass_on(number)

        handlers = {int(number): signal.signal(number, pass_on) for number in STOP_SIGNALS}
        while not child.has_ended() or run.folder.is_locked():
            time.sleep(POLL_SECONDS)
        for each, handler in handlers.items():
            signal.signal(each, handler)
        child.explain_silent_death()
        state = found_state(run)
        if state in ("new", "interrupted"):
            for number in came:
                if number in WARNINGS and callable(handlers[number]):
                    _put_back(run, number)
        if state != "done":
            raise RunError(f"{run.id} is {state}")

    def checkpoint(self, run: Run) -> Any:
        """For submitit: what to do when the job starts again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, run)


def _put_back(run: Run, number: int) -> None:
    """Let submitit, which would have had the signal, put this job back into the queue; that ends this process."""
    from submitit.core.utils import UncompletedJobError

    try:
        signal.raise_signal(number)
    except UncompletedJobError:
        too_often = "its time limit was reached more often than hydra.launcher.max_num_timeout allows"
        run.folder.update_status(state="interrupted", error=too_often)
        raise
