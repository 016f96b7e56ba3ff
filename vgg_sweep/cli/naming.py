"""Words of a command line that name runs: D-jitter, an id or how it begins, a folder, in any sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import complete_override

if TYPE_CHECKING:
    from vgg_sweep.runs.folder import RunFolder


def complete_run(incomplete: str) -> list[str]:
    """Shell completion of a run's name."""
    from vgg_sweep.runs.naming import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_fuse(incomplete: str) -> list[str]:
    """Shell completion of the last run of a fusion: D-jitter+E-jitter."""
    before, plus, last = incomplete.rpartition("+")
    return [f"{before}{plus}{name}" for name in [*complete_run(last), *(["best:"] if "best:".startswith(last) else [])]]


def complete_run_or_override(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of a run's name or of KEY=VALUE."""
    runs = [] if "=" in incomplete or args[-1:] == ["="] else complete_run(incomplete)
    return [*runs, *complete_override(context, args, incomplete)]


RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run in any sweep: D-jitter, an id or its beginning, SWEEP/D-jitter; or its folder.",
        autocompletion=complete_run,
    ),
]
RunsAndOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN|KEY=VALUE",
        help="Runs, such as D-jitter, or the settings of one; and what to do with them, such as protocol=multi.",
        parser=str.strip,
        autocompletion=complete_run_or_override,
    ),
]


def run_folder(name: str) -> "RunFolder":
    """The run that `name` stands for; it is said which, unless that is its folder.

    Raises `ConfigError` if there is none, or several.
    """
    from vgg_sweep.runs.naming import find_run

    folder = find_run(name)
    if folder.path != Path(name):
        typer.echo(f"{name}: {folder.path}", err=True)
    return folder


def with_runs(words: Sequence[str]) -> list[list[str]]:
    """The overrides among `words`, once for each run that the others name; once if they name none.

    Raises `ConfigError` as `run_folder`.
    """
    from vgg_sweep.plan.commands import override

    overrides = [word for word in words if "=" in word and not Path(word).is_dir()]
    folders = [run_folder(word) for word in words if word not in overrides]
    return [[override("run", str(folder.path)), *overrides] for folder in folders] or [overrides]


def refuse_run(command: str, words: Sequence[str]) -> None:
    """Raise `ConfigError` for run=NAME, which only a launcher gives to a job that trains."""
    from vgg_sweep.errors import ConfigError

    if any(word.startswith("run=") for word in words):
        raise ConfigError(
            f"{command} takes the settings of a net and no run=; to go on with a run give its settings again, to score "
            "a trained one `vgg-sweep score RUN protocol=NAME`."
        )
