"""Runs by any of Hydra's launchers: a wave of all that are ready, and again when the launcher is back."""

import signal
import time
from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import write_text
from vgg_sweep.sweep.agenda import FAILED, Agenda, found_state
from vgg_sweep.sweep.processes import POLL_SECONDS, Stopped


def in_waves(agenda: Agenda, launcher: Launcher, *, fail_fast: bool = False) -> None:
    """Give a launcher all runs that are ready, wait for them, and again. What became of them is read from their
    folders.

    A launcher may lose runs that are not to blame, as joblib does with a whole pool when one worker is killed. So
    those that ended without a word are given to it once more, one by one.

    Raises `Stopped` after SIGINT, when the launcher has ended its workers: the runs go on from their last checkpoint.
    """
    alone: set[str] = set()
    num_launched = 0
    while not agenda.is_settled and not (fail_fast and agenda.in_state(*FAILED)):
        wave = list(agenda.ready())
        suspects = [run for run in wave if run.id in alone]
        wave = suspects[:1] or wave
        if not wave:
            time.sleep(POLL_SECONDS)
            continue
        for run in wave:
            agenda.starts(run)
        try:
            message = _launch(launcher, wave, num_launched)
        except KeyboardInterrupt as stop:
            raise Stopped(signal.SIGINT) from stop
        num_launched += len(wave)
        while any(run.folder.is_locked() for run in wave):  # a launcher may give up on all when one has failed
            time.sleep(POLL_SECONDS)
        for run in wave:
            if found_state(run) in ("new", "interrupted") and len(wave) > 1:
                alone.add(run.id)
                agenda.gives_back(run)
                continue
            if found_state(run) in ("new", "interrupted"):
                write_text(run.folder.error, message)
                run.folder.update_status(state="failed", error=message)
            agenda.ends(run)


def _launch(launcher: Launcher, runs: Sequence[Run], first_number: int) -> str:
    """Launch `runs` and wait for them. Returns what the launcher said of those that did not end well."""
    jobs = [[f"run='{run.folder.path.absolute()}'"] for run in runs]
    try:
        returned: Sequence[JobReturn] = launcher.launch(jobs, initial_job_idx=first_number)
        for job in returned:
            _ = job.return_value  # raises what the job raised
    except (Exception, SystemExit) as error:
        return f"the launcher reports {type(error).__name__}: {error}"
    return "the launcher's job ended without a word"
