"""The command that shows what runs have said: logs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import app, newest_sweep
from vgg_sweep.cli.naming import complete_run, run_folder
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.runs.folder import RunFolder

POLL_SECONDS = 0.5


@app.command()
def logs(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run in any sweep: D-jitter, an id or its beginning; or its folder. With --failed: a sweep.",
            autocompletion=complete_run,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep following until the run ends.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Show each run of the sweep that failed.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="Show only the last N lines.")] = None,
) -> None:
    """Show the log of a run, and why it failed.

    With --failed: of all failed runs of a sweep, by default the most recent one.
    """
    from vgg_sweep.runs.folder import find_runs
    from vgg_sweep.sweep.agenda import FAILED

    if failed and follow:
        raise ConfigError("--failed shows runs that have ended; leave out --follow.")
    if failed:
        sweep = Path(run) if run is not None else newest_sweep()
        if not (folders := find_runs(sweep)):
            raise ConfigError(f"{sweep} holds no runs; name a sweep's folder, such as outputs/demo.")
        chosen = [folder for folder in folders if folder.status().get("state") in FAILED]
        for folder in chosen:
            typer.echo(f"== {folder.path}")
            _show_log(folder, lines)
        if not chosen:
            typer.echo(f"No run of {sweep} has failed.")
        return
    if run is None:
        raise ConfigError("logs needs a run, such as `vgg-sweep logs D-jitter`, or --failed.")
    folder = run_folder(run)
    if follow:
        _follow(folder, lines)
    else:
        _show_log(folder, lines)


def _show_log(folder: "RunFolder", lines: int | None) -> None:
    """The log, or its last lines, and the traceback if the run failed."""
    from vgg_sweep.runs.logs import last_lines

    text = "\n".join(last_lines(folder.log, lines)) if folder.log.exists() else ""
    typer.echo(text or f"{folder.path} has logged nothing yet.")
    if folder.error.exists():
        typer.echo(f"\n{folder.error}:\n{folder.error.read_text(encoding='utf-8', errors='replace').rstrip()}")


def _follow(folder: "RunFolder", lines: int | None) -> None:
    """The log as it grows, until the run is done, has failed or was interrupted; or until Ctrl-C."""
    from vgg_sweep.runs.logs import new_lines
    from vgg_sweep.sweep.agenda import SETTLED

    is_first = True
    for new in new_lines(folder.log):
        state = folder.status().get("state")
        for line in new[-lines:] if is_first and lines else new:
            typer.echo(line)
        if state in SETTLED and not new:
            typer.echo(f"{folder.id} is {state}.", err=True)
            return
        is_first = False
        try:
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            return
