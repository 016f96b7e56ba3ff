"""The command line: parse and dispatch. What is heavy is imported by the commands that need it: `--help` is quick."""

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vgg_sweep import __version__

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from vgg_sweep.config import Config
    from vgg_sweep.plan import Run

app = typer.Typer(
    name="vgg-sweep",
    rich_markup_mode=None,  # errors and help as plain text, to be copied and searched
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@dataclass
class Program:
    """What the options before the command say."""

    debug: bool = False


def complete_override(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of KEY=VALUE."""
    from vgg_sweep.vocabulary import complete

    return complete(context.params.get("overrides") or args, incomplete)


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="Settings, such as model=D train_scale=jitter.", autocompletion=complete_override
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="A folder with options of your own, such as model/mine.yaml."),
]
Cfg = Annotated[
    Literal["job", "hydra", "all"] | None,
    typer.Option("--cfg", "-c", help="Show the configuration instead of running: ours, Hydra's or both."),
]
Resolve = Annotated[bool, typer.Option("--resolve", help="With --cfg: fill in the ${...} of the values.")]
Package = Annotated[str | None, typer.Option(help="With --cfg: show only this part, such as recipe.")]
Info = Annotated[
    Literal["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"] | None,
    typer.Option(help="Show how Hydra comes to the configuration instead of running."),
]
Sweeps = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SWEEP", help="Folders of sweeps; by itself the most recent one under outputs/."),
]


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def program(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The VGG paper (Simonyan & Zisserman, ICLR 2015) as an experiment-sweep tool.

    Exit codes: 0 all done, 1 something failed, 2 the command line or the configuration is wrong.
    """
    context.obj.debug = debug


@app.command()
def train(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    cfg: Cfg = None,
    resolve: Resolve = False,
    package: Package = None,
    info: Info = None,
) -> None:
    """Train and score one net, after those that it starts from."""
    from vgg_sweep import compose

    compose.run(train_config, overrides or [], compose.Flags(config_dir, cfg, resolve, package, info))


@app.command()
def multirun(
    overrides: Overrides = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the runs and what is done of them; run nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Start finished runs afresh.")] = False,
    config_dir: ConfigDir = None,
    cfg: Cfg = None,
    resolve: Resolve = False,
    package: Package = None,
    info: Info = None,
) -> None:
    """Train and score many nets, in parallel where they fit.

    Give sweep=NAME or lists such as model=A,B; by itself it makes the twelve runs of Table 3.
    Given again it goes on where it was.
    """
    from vgg_sweep import compose
    from vgg_sweep.config import ConfigError
    from vgg_sweep.launch import num_processes

    if num_processes() > 1:
        raise ConfigError("multirun under torchrun would run in every process; start it by itself, with devices=N.")
    asked = {"hydra.sweeper.plan_only=true": plan, "hydra.sweeper.force=true": force}
    overrides = [*(overrides or []), *(override for override, wanted in asked.items() if wanted)]
    compose.multirun(train_job, overrides, compose.Flags(config_dir, cfg, resolve, package, info))


@app.command()
def score(
    overrides: Overrides = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the passes and what they cost; run nothing.")] = False,
    config_dir: ConfigDir = None,
    cfg: Cfg = None,
    resolve: Resolve = False,
    package: Package = None,
    info: Info = None,
) -> None:
    """Score a trained net again, under protocol=NAME."""
    from vgg_sweep import compose

    task = show_passes if plan else score_config
    compose.run(task, overrides or [], compose.Flags(config_dir, cfg, resolve, package, info))


@app.command()
def report(
    sweeps: Sweeps = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table, such as 3; may be repeated.")] = None,
    format: Annotated[list[str] | None, typer.Option(help="rich, md, csv, json, or a list such as md,csv.")] = None,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Folder to write md, csv and json into.")] = None,
    fuse: Annotated[
        list[str] | None, typer.Option(help="Nets to average: D-jitter+E-jitter, or best:3; may be repeated.")
    ] = None,
) -> None:
    """The paper's tables, ours beside the paper's.

    Made from the posteriors on disk: no GPU, no torch.
    """
    from rich.console import Console

    from vgg_sweep.report import report

    report(
        sweeps or [newest_sweep()],
        tables=_words(table),
        formats=_words(format),
        out=out,
        fuse=fuse or [],
        console=Console(),
    )


@app.command()
def describe(
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    image_px: Annotated[int | None, typer.Option(min=1, help="Side of a larger image, for dense evaluation.")] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Tables 1 and 2, from the nets themselves.

    By itself at the paper's size; data=fractals or width=, classes= and crop= give another. With model=NAME one net,
    layer by layer.
    """
    from vgg_sweep import compose

    given = {override.partition("=")[0] for override in overrides or []}
    at_paper_size = [] if given & {"data", "experiment"} else ["data=imagenet"]

    def task(config: "Config") -> None:
        from rich.console import Console

        from vgg_sweep.config import load_option
        from vgg_sweep.description import show
        from vgg_sweep.vocabulary import groups

        one = "model" in given
        models = [config.model] if one else [load_option("model", name) for name in groups(config_dir)["model"]]
        show(config, models, layer_by_layer=one, as_json=as_json, image_px=image_px, console=Console())

    compose.run(task, [*at_paper_size, *(overrides or [])], compose.Flags(config_dir))


@app.command()
def status(
    sweeps: Sweeps = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until nothing runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
) -> None:
    """What a sweep is doing: done, running, failed, waiting."""
    from vgg_sweep.status import show

    show(sweeps or [newest_sweep()], watch=watch, as_json=as_json)


def train_config(config: "Config") -> None:
    """Train and score the run of `config`, after its parents; or the prepared run in the folder `config.run`."""
    from rich.console import Console

    from vgg_sweep.agenda import Agenda
    from vgg_sweep.config import RunError
    from vgg_sweep.launch import is_first_process
    from vgg_sweep.plan import plan
    from vgg_sweep.status import plan_table
    from vgg_sweep.work import check, main, prepare, work

    if config.run is not None:
        if main(Path(config.run)) != 0:
            raise RunError(f"{config.run} is not done; its error.txt says why.")
        return
    runs = plan([config])
    check(config)
    if len(runs) > 1 and is_first_process():
        Console().print(plan_table(Agenda(runs, retries=1), seconds={}))
    for run in runs:
        prepare(run)
        work(run, live=True)
    if is_first_process():
        typer.echo(f"Done: {runs[-1].folder.path}")


def train_job(raw: "DictConfig") -> None:
    """A run of a sweep, in whatever process Hydra's launcher starts it."""
    from vgg_sweep.config import checked

    train_config(checked(raw))


def score_config(config: "Config") -> None:
    """Score the trained run of `config`."""
    from vgg_sweep.work import prepare, work

    run = trained_run(config)
    prepare(run)
    work(run, live=True)
    typer.echo(f"Done: {run.folder.posteriors}")


def show_passes(config: "Config") -> None:
    """The passes of the run of `config` under its protocol, and what they cost; the run need not be trained."""
    from vgg_sweep.cost import pass_table
    from vgg_sweep.plan import plan
    from vgg_sweep.status import console

    console().print(pass_table(plan([config])[-1]))


def trained_run(config: "Config") -> "Run":
    """The run of `config`. Raises `RunError` if it is not trained."""
    from vgg_sweep.config import RunError
    from vgg_sweep.plan import plan

    run = plan([config])[-1]
    if not run.folder.is_trained:
        raise RunError(f"{run.folder.path} holds no finished net; give `vgg-sweep train` the same settings first.")
    return run


def newest_sweep() -> Path:
    """The sweep under outputs/ in which something was written last. Raises `ConfigError` if there is none."""
    from vgg_sweep.config import ConfigError

    written = {file: file.stat().st_mtime for file in Path("outputs").glob("*/*/status.json")}
    if not written:
        raise ConfigError(
            "there is no run under outputs/ yet; start with `vgg-sweep multirun`, or name a sweep's folder."
        )
    sweep = max(written, key=lambda file: written[file]).parents[1]
    typer.echo(f"The most recent sweep: {sweep}", err=True)
    return sweep


def _words(given: list[str] | None) -> list[str]:
    """--format md,csv --format json -> md, csv, json."""
    return [word for text in given or [] for word in text.split(",")]


def main() -> None:
    """Run the command line; an error is one sentence, with its traceback if --debug is given."""
    program = Program()
    try:
        app(obj=program)
    except Exception as error:
        if program.debug:
            traceback.print_exception(error)
        sentence, exit_code = _verdict(error)
        typer.echo(f"Error: {sentence}", err=True)
        sys.exit(exit_code)


def _verdict(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    from vgg_sweep.config import ConfigError, RunError
    from vgg_sweep.progress import Diverged, Interrupted

    match error:
        case ConfigError():
            return str(error), 2
        case Interrupted():
            return str(error), 130
        case RunError() | Diverged():
            return str(error), 1
    return f"{type(error).__name__}: {error} (`vgg-sweep --debug ...` shows where.)", 1
