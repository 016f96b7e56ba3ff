"""Commands that make runs: train, multirun, score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import Cfg, ConfigDir, Overrides, Package, app
from vgg_sweep.cli.naming import Picked, RunsAndOverrides, for_sweeper, refuse_run, with_runs
from vgg_sweep.errors import ConfigError, RunError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from vgg_sweep.config.schema import Config
    from vgg_sweep.plan.runs import Run


@app.command()
def train(overrides: Overrides = None, config_dir: ConfigDir = None, cfg: Cfg = None, package: Package = None) -> None:
    """Train and score one net, and first the nets it starts from."""
    from vgg_sweep.cli import compose

    refuse_run("train", overrides or [])
    compose.run(train_config, overrides or [], compose.Flags(config_dir, cfg, package))


@app.command()
def multirun(
    overrides: Picked = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the runs and their states; run nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run finished runs again from the start.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Try 20 steps of each run; keep nothing.")] = False,
    config_dir: ConfigDir = None,
    cfg: Cfg = None,
    package: Package = None,
) -> None:
    """Train and score many nets, in parallel where they fit.

    Give sweep=NAME or lists such as model=A,B; the default is the twelve runs of Table 3. only='D-*',
    except='*-jitter' and retry=failed select runs; the runs they start from are included.
    Repeat the command to continue an interrupted sweep.
    """
    from vgg_sweep.cli import compose
    from vgg_sweep.cli.outcome import show_trials
    from vgg_sweep.machine.launch import num_processes

    if num_processes() > 1:
        raise ConfigError(
            "torchrun would start this multirun once per process; run it without torchrun and give devices=N."
        )
    asked = for_sweeper(overrides or [], plan_only=plan, force=force, smoke=smoke)
    compose.multirun(train_job, asked, compose.Flags(config_dir, cfg, package))
    show_trials()


@app.command()
def score(
    words: RunsAndOverrides = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the passes and their cost; run nothing.")] = False,
    config_dir: ConfigDir = None,
    cfg: Cfg = None,
    package: Package = None,
) -> None:
    """Score trained nets under another protocol.

    Name the runs, or give the settings of one; and the protocol, such as protocol=multi.
    """
    from vgg_sweep.cli import compose

    task = show_passes if plan else score_config
    for overrides in with_runs(words or []):
        compose.run(task, overrides, compose.Flags(config_dir, cfg, package))


def train_config(config: "Config") -> None:
    """Train and score the run of `config`, after its parents; or the prepared run in the folder `config.run`."""
    from vgg_sweep.cli.outcome import say_outcome
    from vgg_sweep.cli.plans import plan_table
    from vgg_sweep.cli.screen import console
    from vgg_sweep.machine.choices import choice_notes
    from vgg_sweep.machine.launch import is_first_process, num_processes
    from vgg_sweep.plan.differences import notes
    from vgg_sweep.plan.folders import prepare
    from vgg_sweep.plan.runs import plan
    from vgg_sweep.runs.provenance import typed
    from vgg_sweep.sweep.agenda import Agenda
    from vgg_sweep.sweep.forecast import Forecast, check_ready
    from vgg_sweep.sweep.on_end import run_on_end
    from vgg_sweep.sweep.origin import check_origins
    from vgg_sweep.sweep.siblings import finished_elsewhere, sibling_notes, take_over
    from vgg_sweep.sweep.work import check, main, work

    if config.run is not None:
        if main(Path(config.run)) != 0:
            raise RunError(f"{config.run} is not done; its error.txt says why.")
        return
    runs = plan([config])
    check_ready(runs)
    check(config)
    check_origins(runs)
    elsewhere = finished_elsewhere(runs[:-1]) if num_processes() == 1 else {}
    for run in runs[:-1]:
        if run.id in elsewhere:
            take_over(run, elsewhere[run.id])
    if len(runs) > 1 and is_first_process():
        said = [*notes(runs), *choice_notes(run.config for run in runs if not run.folder.is_trained)]
        said += sibling_notes(elsewhere, elsewhere)
        console().print(plan_table(Agenda(runs, retries=1), Forecast.of(runs, []), said))
    with run_on_end(config.on_end if is_first_process() else None, runs):
        for run in runs:
            if not run.is_at_hand:
                prepare(run).note(command=typed())
                work(run, live=True)
    if is_first_process():
        typer.echo(f"Done: {runs[-1].folder.path}")
        say_outcome(runs[-1:], console())


def train_job(raw: "DictConfig") -> float | None:
    """A run of a sweep, in whatever process Hydra's launcher starts it.

    Returns the error in percent of the last validation, for sweepers that look for the lowest, such as Optuna's.
    """
    from hydra.core.hydra_config import HydraConfig

    from vgg_sweep.cli.outcome import noted
    from vgg_sweep.config.checks import checked
    from vgg_sweep.plan.runs import plan
    from vgg_sweep.plan.start import adopted

    config = adopted(checked(raw), {text.partition("=")[0] for text in HydraConfig.get().overrides.task})
    train_config(config)
    return noted(plan([config])[-1])


def score_config(config: "Config") -> None:
    """Score the trained run of `config`."""
    from vgg_sweep.plan.folders import prepare
    from vgg_sweep.runs.prune import take_back
    from vgg_sweep.sweep.origin import check_origins
    from vgg_sweep.sweep.work import work

    run = asked_run(config)
    if not run.folder.is_trained:
        raise ConfigError(
            f"{run.folder.path} holds no trained net; run `vgg-sweep train` with the same settings first."
        )
    check_origins([run])
    take_back(prepare(run))
    work(run, live=True)
    typer.echo(f"Done: {run.folder.boxes if run.config.task == 'localise' else run.folder.posteriors}")


def show_passes(config: "Config") -> None:
    """The passes of the run of `config` under its protocol, and what they cost; the run need not be trained."""
    from vgg_sweep.cli.plans import pass_table
    from vgg_sweep.cli.screen import console

    console().print(pass_table(asked_run(config)))


def asked_run(config: "Config") -> "Run":
    """The run of `config`, or that called `config.run`."""
    from vgg_sweep.plan.folders import run_in_folder
    from vgg_sweep.plan.runs import plan

    return plan([config])[-1] if config.run is None else run_in_folder(config)
