"""Runs by any of Hydra's launchers: a wave of all that are ready, and again when the launcher is back."""

import signal
import time
from collections.abc import Iterable, Iterator, Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.agenda import found_state
from vgg_sweep.sweep.driver import POLL_SECONDS, Executor, Stopped


class Waves(Executor):
    """Gives a launcher all runs that are ready and waits for them. What became of them is read from their folders.

    A launcher may lose runs that are not to blame, as joblib does with a whole pool when one worker is killed. So
    those that ended and left no message are given to it once more, one by one.
    """

    stop_signals = ()  # while a launcher waits, SIGINT is for it to end its workers

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._num_launched = 0
        self._alone: set[str] = set()
        self._ended: list[tuple[Run, bool]] = []

    def submit(self, ready: Iterable[Run]) -> Iterator[Run]:
        """Launch a wave, and return when it is over. Runs that a stop interrupts continue from their checkpoints."""
        wave = list(ready)
        wave = [run for run in wave if run.id in self._alone][:1] or wave
        if not wave:
            return
        yield from wave
        try:
            message = self._launch(wave)
        except KeyboardInterrupt as stop:
            raise Stopped(signal.SIGINT) from stop
        while any(run.folder.is_locked() for run in wave):  # a launcher may give up on all when one has failed
            time.sleep(POLL_SECONDS)
        for run in wave:
            has_said_nothing = found_state(run) in ("new", "interrupted")
            is_suspect = has_said_nothing and len(wave) > 1
            if is_suspect:
                self._alone.add(run.id)
            elif has_said_nothing:
                run.folder.fail(message, message)
            self._ended.append((run, is_suspect))

    def poll(self) -> Iterable[tuple[Run, bool]]:
        ended, self._ended = self._ended, []
        return ended

    def _launch(self, runs: Sequence[Run]) -> str:
        """Launch `runs` and wait for them. Returns what the launcher said of those that did not end well."""
        jobs = [[f"run='{run.folder.path.absolute()}'"] for run in runs]
        first_number = self._num_launched
        self._num_launched += len(runs)
        try:
            returned: Sequence[JobReturn] = self._launcher.launch(jobs, initial_job_idx=first_number)
            for job in returned:
                _ = job.return_value  # raises what the job raised
        except (Exception, SystemExit) as error:
            return f"the launcher reports {type(error).__name__}: {error}"
        return "the launcher's job ended and left no message"
