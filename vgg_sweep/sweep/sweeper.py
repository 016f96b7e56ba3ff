"""The Hydra sweeper: the command line to runs, and runs to processes of our own or to any of Hydra's launchers."""

import os
import shlex
import shutil
import time
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console

from vgg_sweep.config import Config, RunError
from vgg_sweep.plan import Run, plan
from vgg_sweep.store import RunFolder, find_runs, write_text
from vgg_sweep.sweep.agenda import FAILED, Agenda, found_state
from vgg_sweep.sweep.points import points
from vgg_sweep.sweep.processes import POLL_SECONDS, Stopped, places, visible_gpus, work_off
from vgg_sweep.sweep.status import TIMED_RUNS, Watch, console, estimated_seconds, plan_table
from vgg_sweep.work import check, prepare, read_run


def register() -> None:
    """Make `hydra/sweeper=dag` known to Hydra. Call it before `hydra.main`.

    Hydra 1.3 finds sweepers only in modules under `hydra_plugins`, which an editable install cannot offer; so ours is
    entered under such a name.
    """
    plugins = Plugins.instance()
    plugins.register(DagSweeper)
    plugins.class_name_to_class["hydra_plugins.vgg_sweep.DagSweeper"] = DagSweeper


class DagSweeper(Sweeper):
    """Plans the runs that the command line asks for and all they start from, and does those that are not done."""

    def __init__(self, plan_only: bool, force: bool) -> None:
        self.plan_only, self.force = plan_only, force

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._loader, self._master = hydra_context.config_loader, config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Raises `ConfigError` for what cannot be planned, `RunError` if runs failed, `SystemExit` after Ctrl-C."""
        HydraConfig.instance().set_config(self._master)  # tells where the groups' files are
        configs = points(arguments, self._loader, self._master)
        for config in {repr((each.data, each.device)): each for each in configs}.values():
            check(config)
        if self.force and not self.plan_only:
            for config in configs:
                _start_over(plan([config])[-1].folder)
        settings = configs[0]  # how to run them is not swept over
        agenda = Agenda(plan(configs), retries=settings.retries)
        finished = _finished(agenda)
        screen = console()
        screen.print(plan_table(agenda, estimated_seconds(agenda.runs, finished)))
        if self.plan_only or agenda.is_settled:
            return
        for run in agenda.runs:
            if agenda.states[run.id] != "done":
                _prepare(run)
        try:
            if HydraConfig.get().runtime.choices["hydra/launcher"] == "basic":
                _in_processes(agenda, settings, finished, screen)
            else:
                _in_waves(agenda, settings, self._launcher, screen)
        except Stopped as stopped:
            command = shlex.join(["vgg-sweep", "multirun", *_flags(self._master), *arguments])
            screen.print(
                f"Stopped; what was done is saved. To go on: {command}", markup=False, highlight=False, soft_wrap=True
            )
            raise SystemExit(stopped.exit_code) from stopped
        _report(agenda)


def _flags(master: DictConfig) -> list[str]:
    """What was given on the command line beside the arguments of the sweep."""
    sources = master.hydra.runtime.config_sources
    folders = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
    ours = ("hydra.mode=", "hydra.sweeper.force=", "hydra.sweeper.plan_only=")
    return folders + [text for text in master.hydra.overrides.hydra if not text.startswith(ours)]


def _start_over(folder: RunFolder) -> None:
    """Empty a run's folder of all but its lock. Raises `RunLocked` if a process works on it."""
    if not folder.path.exists():
        return
    with folder.locked():
        for path in folder.path.iterdir():
            if path.name == "lock":
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _prepare(run: Run) -> None:
    """Make the run's folder, and note in a new one what the run waits for."""
    if found_state(run) == "running":
        return
    folder = prepare(run)
    if not folder.status():
        folder.update_status(state="new", parent=run.parent.id if run.parent else None)


def _finished(agenda: Agenda) -> list[Run]:
    """Finished runs from which to tell how long others take: those of the plan, and a few that lie beside them."""
    known = {run.id for run in agenda.runs}
    beside = [
        folder
        for sweep in {run.folder.path.parent for run in agenda.runs}
        for folder in find_runs(sweep)
        if folder.id not in known and folder.is_trained
    ]
    return [*agenda.in_state("done"), *map(read_run, beside[:TIMED_RUNS])]


def _in_processes(agenda: Agenda, settings: Config, finished: Sequence[Run], screen: Console) -> None:
    todo = [run for run in agenda.runs if agenda.states[run.id] != "done"]
    rooms = places(settings, todo, len(os.sched_getaffinity(0)), visible_gpus())
    with Watch(agenda, len(rooms), finished, screen):
        work_off(agenda, rooms, fail_fast=settings.fail_fast)


def _in_waves(agenda: Agenda, settings: Config, launcher: Launcher, screen: Console) -> None:
    """Give a launcher all runs that are ready, wait for them, and again. What became of them is read from their
    folders.

    A launcher may lose runs that are not to blame, as joblib does with a whole pool when one worker is killed. So
    those that ended without a word are given to it once more, one by one.
    """
    alone: set[str] = set()
    num_launched = 0
    with Watch(agenda, 1, [], screen):
        while not agenda.is_settled and not (settings.fail_fast and agenda.in_state(*FAILED)):
            wave = list(agenda.ready())
            suspects = [run for run in wave if run.id in alone]
            wave = suspects[:1] or wave
            if not wave:
                time.sleep(POLL_SECONDS)
                continue
            for run in wave:
                agenda.starts(run)
            message = _launch(launcher, wave, num_launched)
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


def _report(agenda: Agenda) -> None:
    """Raise `RunError` naming the runs that are not done and why."""
    if not (undone := [run for run in agenda.runs if agenda.states[run.id] != "done"]):
        return
    lines = []
    for run in undone:
        state = agenda.states[run.id]
        if state == "blocked":
            lines.append(f"  {run.id}: blocked by {agenda.culprit(run).id}")
        elif state in FAILED:
            lines.append(f"  {run.id}: {state}, see {run.folder.error}")
        else:
            lines.append(f"  {run.id}: {state}")
    raise RunError(
        f"{len(undone)} of {len(agenda.runs)} runs are not done:\n"
        + "\n".join(lines)
        + "\nThe same command with retries=1 tries the failed ones again, from their last checkpoint."
    )
