"""The Hydra sweeper: the command line to runs, and runs to processes of our own or to any of Hydra's launchers."""

import shlex
import warnings
from collections.abc import Collection, Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from vgg_sweep.cli.outcome import say_outcome
from vgg_sweep.cli.plans import plan_table, smoke, smoke_table, throw_away
from vgg_sweep.cli.screen import PATIENCE_SECONDS, console, shown_progress
from vgg_sweep.cli.watch import Watch
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.machine.choices import choice_notes
from vgg_sweep.machine.launch import num_cpus
from vgg_sweep.plan.differences import notes
from vgg_sweep.plan.folders import prepare, read_run
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.files import remove
from vgg_sweep.runs.folder import find_runs
from vgg_sweep.runs.provenance import made_with, typed
from vgg_sweep.runs.prune import note_asked
from vgg_sweep.sweep.agenda import FAILED, Agenda, Selection, found_state, with_parents
from vgg_sweep.sweep.driver import Executor, Stopped, drive
from vgg_sweep.sweep.executors.process import Processes, slots, visible_gpus
from vgg_sweep.sweep.executors.queue import Queue, is_submitit
from vgg_sweep.sweep.executors.tasks import Tasks, is_ray
from vgg_sweep.sweep.executors.waves import Waves
from vgg_sweep.sweep.forecast import Forecast, check_ready, seeds_note, training_work
from vgg_sweep.sweep.grids import configurations
from vgg_sweep.sweep.on_end import run_on_end
from vgg_sweep.sweep.origin import check_origins, image_notes
from vgg_sweep.sweep.siblings import finished_elsewhere, sibling_notes, take_over
from vgg_sweep.sweep.snapshot import use_snapshot
from vgg_sweep.sweep.work import check

TIMED_RUNS = 20
"""As many finished runs are looked at to estimate how long another takes."""


def register() -> None:
    """Make `hydra/sweeper=dag` known to Hydra. Call it before `hydra.main`.

    Hydra 1.3 finds sweepers only in modules under `hydra_plugins`, which an editable install cannot offer; so ours is
    entered under such a name.
    """
    # Ours is meant to replace the plugin's.
    warnings.filterwarnings("ignore", "(?s).*'hydra/launcher/ray' is validated")
    plugins = Plugins.instance()
    plugins.register(DagSweeper)
    plugins.class_name_to_class["hydra_plugins.vgg_sweep.DagSweeper"] = DagSweeper


class DagSweeper(Sweeper):
    """Plans the requested runs and all they start from, and runs those that are not done."""

    def __init__(self, plan_only: bool, force: bool, smoke: bool, only: str, excluded: str, retry: str) -> None:
        self.plan_only, self.force, self.smoke = plan_only, force, smoke
        self.only, self.excluded, self.retry = (
            [word for word in words.split(",") if word] for words in (only, excluded, retry)
        )

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._loader, self._master = hydra_context.config_loader, config
        try:
            self._launcher = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )
        except RuntimeError as error:  # Unknown plugin class
            name = config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(f"hydra/launcher={name} is not installed; pip install 'vgg-sweep[{name}]'.") from error

    def sweep(self, arguments: list[str]) -> None:
        """Raises `ConfigError` for what cannot be planned, `RunError` if runs failed, `SystemExit` after Ctrl-C."""
        HydraConfig.instance().set_config(self._master)  # tells where the groups' files are
        screen = console()
        with shown_progress("Composing the runs", screen, after_seconds=PATIENCE_SECONDS) as progress:
            configs = configurations(arguments, self._loader, self._master, progress)
        settings, whole, unmet = configs[0], plan(configs), self._unmet(configs)  # how to run is not swept over
        if self.smoke:
            configs = list(map(smoke, configs))
            throw_away(plan(configs))  # what a kill has left
        runs, asked = plan(configs), {plan([config])[-1].id for config in configs}
        check_ready(runs)
        meant = self._meant(runs, asked)
        elsewhere = {} if self.force or unmet or self.smoke else finished_elsewhere(meant)
        taken = [run for run in meant if run.id in elsewhere and (settings.take_over or run.id not in asked)]
        for run in taken if not self.plan_only else ():
            take_over(run, elsewhere[run.id])
        agenda = Agenda(meant, retries=max(settings.retries, 1 if self.retry else 0), on_start=prepare)
        if not self.force and not unmet:
            with shown_progress("Checking the images", screen, after_seconds=PATIENCE_SECONDS) as progress:
                check_origins(agenda.runs, progress)
        finished = [*_finished(agenda), *map(read_run, elsewhere.values())]
        _show_plan(agenda, finished, [*sibling_notes(elsewhere, [run.id for run in taken]), *unmet], screen)
        if self.plan_only:
            return
        _prepare(agenda)
        if len(agenda.runs) == len(runs) and not self.smoke:
            for sweep in {run.folder.path.parent for run in runs}:
                note_asked(sweep, typed(), [run.id for run in runs if run.folder.path.parent == sweep])
        if agenda.is_settled:
            with run_on_end(settings.on_end, agenda.runs):
                say_outcome(agenda.runs, screen)
            return
        self._drive(agenda, settings, finished, screen)
        if self.smoke:
            full = {run.id: each for run, each in zip(runs, whole, strict=True)}
            screen.print(smoke_table(agenda, [full[run.id] for run in agenda.runs]))
            _report(agenda)
            throw_away(agenda.runs)
            return
        for note in image_notes(agenda.runs):
            screen.print(Text(f"The images: {note}"), soft_wrap=True)
        say_outcome(agenda.in_state("done"), screen)
        _report(agenda)

    def _unmet(self, configs: Sequence[Config]) -> list[str]:
        """What is missing here to do the runs, for a plan; raises `ConfigError` of it if they are to be done."""
        unmet = []
        for config in {repr((each.data, each.device, each.task)): each for each in configs}.values():
            try:
                check(config)
            except ConfigError as error:
                if not self.plan_only:
                    raise
                unmet.append(str(error))
        return unmet

    def _meant(self, runs: Sequence[Run], asked: Collection[str]) -> list[Run]:
        """The runs that are picked and what they start from. With force, those that were `asked` for are emptied.

        Raises `RunLocked` if a process works on one of these.
        """
        picked = Selection(self.only, self.excluded, self.retry).of(runs)
        for run in picked if self.force and not self.plan_only else ():
            if run.id in asked and run.folder.path.exists():
                with run.folder.locked():
                    remove(path for path in run.folder.path.iterdir() if path.name != "lock")
        return with_parents(picked, runs)

    def _drive(self, agenda: Agenda, settings: Config, finished: Sequence[Run], screen: Console) -> None:
        """Do the runs where `settings` and the launcher say. Raises `SystemExit` after a signal."""
        if settings.snapshot:
            use_snapshot(agenda.runs[0].folder.path.parent)
        try:
            executor = self._executor(agenda, settings)
            with run_on_end(settings.on_end, agenda.runs), Watch(agenda, executor.num_slots, finished, screen):
                drive(agenda, executor, fail_fast=settings.fail_fast)
        except Stopped as stopped:
            screen.print(Text(f"Stopped; what was done is saved. To continue: {typed()}"), soft_wrap=True)
            raise SystemExit(stopped.exit_code) from stopped

    def _executor(self, agenda: Agenda, settings: Config) -> Executor:
        if HydraConfig.get().runtime.choices["hydra/launcher"] == "basic":
            todo = [run for run in agenda.runs if agenda.states[run.id] != "done"]
            return Processes(slots(settings, todo, num_cpus(), visible_gpus()))
        if is_submitit(self._launcher):
            return Queue(self._launcher)
        return Tasks(self._launcher) if is_ray(self._launcher) else Waves(self._launcher)


def _show_plan(agenda: Agenda, finished: Sequence[Run], more: Sequence[str], screen: Console) -> None:
    """The runs and what is to be known before they begin, judging by `finished` ones; `more` is said, too."""
    untrained = [run.config for run in agenda.runs if not run.folder.is_trained]
    said = [*notes(agenda.runs), *choice_notes(untrained, {run.folder.record().get("precision") for run in finished})]
    forecast = Forecast.of(agenda.runs, finished)
    said += [*more, *seeds_note(finished), *([] if forecast.seconds else training_work(agenda.runs))]
    screen.print(plan_table(agenda, forecast, said))


def _prepare(agenda: Agenda) -> None:
    """Make the folders of the runs to do, and note in new ones what they wait for, and with which versions and code."""
    now = made_with()
    for run in agenda.runs:
        if agenda.states[run.id] == "done" or found_state(run) == "running":
            continue
        folder = prepare(run)
        folder.note(command=typed())
        if not folder.status():
            folder.update_status(state="new", parent=run.parent.id if run.parent else None, queued_with=now)


def _finished(agenda: Agenda) -> list[Run]:
    """Finished runs from which to tell how long others take: those of the plan, and a few that lie beside them."""
    if agenda.is_settled:
        return agenda.in_state("done")
    known = {run.id for run in agenda.runs}
    beside = [
        folder
        for sweep in {run.folder.path.parent for run in agenda.runs}
        for folder in find_runs(sweep)
        if folder.id not in known and folder.is_trained
    ]
    return [*agenda.in_state("done"), *map(read_run, beside[:TIMED_RUNS])]


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
            reason = run.folder.status().get("error")
            lines.append(f"  {run.id}: {state}{f', {reason}' if reason else ''}")
    raise RunError(
        f"{len(undone)} of {len(agenda.runs)} runs are not done:\n"
        + "\n".join(lines)
        + "\nThe same command continues interrupted runs from their last checkpoint; retries=1 retries failed ones; "
        f"`{shlex.join(['vgg-sweep', 'logs', '--failed', str(undone[0].folder.path.parent)])}` shows why they failed."
    )
