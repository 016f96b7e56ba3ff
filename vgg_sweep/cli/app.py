"""The program: its options, those that several commands share, and what becomes of errors."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.version import __version__

ORDER = (
    "train multirun status logs score report describe predict features transfer import export prune data bench"
).split()
"""In which `--help` lists the commands: first what makes the tables."""


STOPPED = 130
"""The exit code after a signal, which is no error."""


@contextmanager
def stop_in_a_sentence() -> Iterator[None]:
    """Ctrl-C where nothing else listens to it, before the work begins for example, of which Typer says nothing."""
    try:
        yield
    except KeyboardInterrupt:
        from vgg_sweep.runs.provenance import typed

        typer.echo(f"Stopped. To start again, or continue from what is saved: {typed()}", err=True)
        sys.exit(STOPPED)


class InOrder(TyperGroup):
    """Lists the commands in the order a newcomer needs them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def make_context(self, *args: Any, **more: Any) -> Any:
        with stop_in_a_sentence():
            return super().make_context(*args, **more)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            with stop_in_a_sentence():
                return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # Pydantic's, before Typer's sentence
            raise


app = typer.Typer(
    name="vgg-sweep",
    cls=InOrder,
    rich_markup_mode=None,  # errors and help as plain text, to be copied and searched
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@dataclass
class ProgramOptions:
    """The options before the command."""

    debug: bool = False


def completed(
    context: typer.Context, args: list[str], incomplete: str, own: Mapping[str, Sequence[str]], *, or_run: bool = False
) -> list[str]:
    """Shell completion of KEY=VALUE, or of a run's name too; `own` has the values of a command's own keys."""
    from vgg_sweep.config.options import OWN_OPTIONS
    from vgg_sweep.config.vocabulary import complete
    from vgg_sweep.runs.naming import names

    if folder := context.params.get("config_dir"):
        os.environ[OWN_OPTIONS] = str(Path(folder).absolute())
    runs = names()
    words = context.params.get("overrides") or context.params.get("words") or args
    return complete(words, incomplete, {"start_from": runs, **own}, runs if or_run else ())


def complete_override(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of KEY=VALUE."""
    return completed(context, args, incomplete, {})


def complete_sweep(incomplete: str) -> list[str]:
    """Shell completion of a sweep's folder."""
    from vgg_sweep.runs.naming import known_runs

    sweeps = sorted({str(run.path.parent) for run in known_runs()})
    return [sweep for sweep in sweeps if sweep.startswith(incomplete)]


def words_argument(metavar: str, help: str, complete: Callable[..., list[str]]) -> Any:
    """An argument of several words; blanks around them, as a terminal pastes them, do not count."""
    return typer.Argument(metavar=metavar, help=help, parser=str.strip, autocompletion=complete)


Overrides = Annotated[
    list[str] | None, words_argument("KEY=VALUE", "Settings, such as model=D train_scale=jitter.", complete_override)
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="A folder with your own options, such as model/mine.yaml."),
]
Cfg = Annotated[
    Literal["job", "hydra", "all"] | None,
    typer.Option("--cfg", "-c", help="Show the configuration instead of running: the job's, Hydra's or both."),
]
Package = Annotated[str | None, typer.Option(help="With --cfg: show only this part, such as recipe.")]
Sweeps = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SWEEP",
        help="Sweep folders; default: the most recent one under outputs/.",
        autocompletion=complete_sweep,
    ),
]


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """The VGG paper (Simonyan & Zisserman, ICLR 2015) as an experiment-sweep tool.

    Exit codes: 0 all done, 1 something failed, 2 the command line or the configuration is wrong.
    """
    if version and context.invoked_subcommand is not None:
        context.fail(f"--version stands alone; leave out {context.invoked_subcommand}.")
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        context.fail("Missing command.")
    context.obj.debug = debug


def newest_sweep() -> Path:
    """The sweep under outputs/ in which something was written last. Raises `ConfigError` if there is none."""
    written = {file: file.stat().st_mtime for file in Path("outputs").glob("*/*/status.json")}
    if not written:
        raise ConfigError(
            "there is no run under outputs/ yet; start with `vgg-sweep multirun`, or name a sweep's folder."
        )
    sweep = max(written, key=lambda file: written[file]).parents[1]
    typer.echo(f"The most recent sweep: {sweep}", err=True)
    return sweep


def main() -> None:
    """Run the command line; an error is one sentence, with its traceback if --debug is given."""
    program = ProgramOptions()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be stopped by another process is Ctrl-C
    try:
        with stop_in_a_sentence():
            from vgg_sweep.runs.printable import IN_PRINT

            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors=IN_PRINT)  # a terminal without dashes, a file's name that is not UTF-8
            if find_spec("fcntl") is None:
                typer.echo("Error: vgg-sweep needs Linux or macOS; on Windows install it inside WSL.", err=True)
                sys.exit(2)
            app(obj=program)
    except Exception as error:
        if program.debug:
            traceback.print_exception(error)
        sentence, exit_code = _verdict(error)
        typer.echo(f"{'Error: ' * (exit_code != STOPPED)}{sentence}", err=True)
        sys.exit(exit_code)


def _verdict(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    from vgg_sweep.runs.progress import Diverged, Interrupted
    from vgg_sweep.runs.provenance import typed

    match error:
        case ConfigError():
            return str(error), 2
        case Interrupted():
            again = f"; what was done is saved. To continue: {typed()}" if typed() else ""
            why = str(error).rstrip(".")
            return f"{why[:1].upper()}{why[1:]}{again}", STOPPED
        case RunError() | Diverged():
            return str(error), 1
        case OSError(filename=str(file), strerror=str(reason)):
            return f"{file}: {reason}; the system refused it; check the path, its permissions and the disk.", 1
    return f"{type(error).__name__}: {error} (`vgg-sweep --debug ...` shows where.)", 1
