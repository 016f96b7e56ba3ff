"""The command that removes what a sweep no longer needs: prune."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import app, newest_sweep
from vgg_sweep.cli.naming import complete_run_or_sweep, run_folder
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.runs.prune import Removal


@app.command()
def prune(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SWEEP|RUN",
            help="Sweep folders, or runs such as D-jitter; default: the most recent sweep under outputs/.",
            autocompletion=complete_run_or_sweep,
        ),
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Checkpoints; an unfinished run then starts over.")
    ] = False,
    posteriors: Annotated[
        bool, typer.Option("--posteriors", help="Posteriors of scored runs; their table rows stay.")
    ] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Whole runs that failed or diverged.")] = False,
    left_the_sweep: Annotated[
        bool, typer.Option("--left-the-sweep", help="Whole runs that the sweep's last command did not ask for.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only show what would be removed.")] = False,
) -> None:
    """Remove what a sweep no longer needs.

    Without --yes, only show how much space that would free. Runs in progress are never touched.
    """
    from vgg_sweep.cli.screen import console
    from vgg_sweep.runs.folder import RunLocked, find_runs
    from vgg_sweep.runs.prune import PruneRules, last_asked, removals

    rules = PruneRules(checkpoints, posteriors, failed, left_the_sweep)
    asks_nothing = rules == PruneRules()
    if asks_nothing and yes:
        raise ConfigError("--yes needs one of --checkpoints, --posteriors, --failed and --left-the-sweep.")
    if asks_nothing:
        rules = PruneRules(True, True, True, True)
    named = words or [str(newest_sweep())]
    folders = [folder for word in named for folder in (find_runs(Path(word)) or [run_folder(word)])]
    if left_the_sweep:
        for sweep in dict.fromkeys(folder.path.parent for folder in folders):
            command, ids = last_asked(sweep)
            if ids is None:
                raise ConfigError(f"the last command of {sweep} is not known; name the runs to remove.")
            typer.echo(f"The last command of {sweep}: {command}")
    found = []
    for folder in folders:
        if folder.is_locked():
            typer.echo(f"{folder.id} is in use and is left as it is.")
        else:
            found += removals(folder, rules, last_asked(folder.path.parent)[1])
    if not found:
        typer.echo("There is nothing to remove.")
        return
    console().print(_table(found))
    if asks_nothing:
        typer.echo("To choose what to remove: --checkpoints, --posteriors, --failed, --left-the-sweep.")
    elif not yes:
        typer.echo("Nothing has been removed; add --yes to remove it.")
    else:
        _keep_errors(found)
        for removal in found:
            try:
                removal.carry_out()
            except RunLocked as error:
                typer.echo(str(error))
        typer.echo("Removed.")


def _table(found: Sequence["Removal"]) -> object:
    """A line for each removal: run, what, how much, what it means; and all together."""
    from vgg_sweep.cli.screen import plain_table, run_name, size

    lines = plain_table(("run", "what", "frees", "meaning"), ("frees",))
    for each in found:
        lines.add_row(run_name(each.folder.id), each.what, size(each.num_bytes), each.meaning)
    lines.add_row("total", "", size(sum(each.num_bytes for each in found)), "", style="bold")
    return lines


def _keep_errors(found: Sequence["Removal"]) -> None:
    """Compute all that a report takes from posteriors before they go; it is kept beside them."""
    sweeps = dict.fromkeys(each.folder.path.parent for each in found if each.what == "posteriors")
    if sweeps:
        from vgg_sweep.report.results.results import read_results

        for sweep in sweeps:
            read_results(sweep)
