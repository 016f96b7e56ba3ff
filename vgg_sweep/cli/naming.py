"""Words of a command line that are not settings: those that name runs (an id or its beginning, a folder), and those
that select runs of a plan.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import complete_sweep, completed, words_argument
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.runs.folder import RunFolder


def complete_run(incomplete: str) -> list[str]:
    """Shell completion of a run's name."""
    from vgg_sweep.runs.naming import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_stack(incomplete: str) -> list[str]:
    """Shell completion of the last of several runs: D-jitter+E-jitter."""
    before, plus, last = incomplete.rpartition("+")
    return [f"{before}{plus}{name}" for name in complete_run(last)]


def complete_fuse(incomplete: str) -> list[str]:
    """Shell completion of a fusion: several runs, or the best."""
    return [*complete_stack(incomplete), *(best for best in ("best:2", "best:3") if best.startswith(incomplete))]


def complete_run_or_sweep(incomplete: str) -> list[str]:
    """Shell completion of a run's name or a sweep's folder."""
    return [*complete_run(incomplete), *complete_sweep(incomplete)]


def complete_run_or_override(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of a run's name or of KEY=VALUE."""
    return completed(context, args, incomplete, {}, or_run=True)


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
    words_argument(
        "RUN|KEY=VALUE",
        "Runs, such as D-jitter, or the settings of one; and settings of the scoring, such as protocol=multi.",
        complete_run_or_override,
    ),
]


def run_folder(name: str) -> "RunFolder":
    """The run that `name` stands for, which is printed unless `name` is its folder.

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
    if any(word.startswith("run=") for word in words):
        raise ConfigError(
            f"{command} takes the settings of a net, not run=; to continue a run, give its settings again; to score a "
            "trained one, use `vgg-sweep score RUN protocol=NAME`."
        )


WORDS = {"only": "only", "except": "excluded", "retry": "retry"}
"""As they are typed, and as the sweeper calls them."""


def complete_picks(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of only=, except=, retry= and KEY=VALUE."""
    from vgg_sweep.runs.naming import names
    from vgg_sweep.sweep.agenda import RETRIED

    return completed(context, args, incomplete, {"only": names(), "except": names(), "retry": RETRIED})


Picked = Annotated[
    list[str] | None,
    words_argument(
        "KEY=VALUE",
        "Settings, such as model=D,E; and a selection: only='D-*', except='*-jitter', retry=failed.",
        complete_picks,
    ),
]


def for_sweeper(words: Sequence[str], **flags: bool) -> list[str]:
    """`words` and `flags` as overrides: only='D-*' becomes the sweeper's.

    Raises `ConfigError` for run=, for a word that says nothing, and for what another sweeper does not know.
    """
    from vgg_sweep.plan.commands import override

    refuse_run("multirun", words)
    kept = [word for word in words if word.partition("=")[0] not in WORDS]
    picks = [word.partition("=") for word in words if word not in kept]
    if empty := [key for key, _, value in picks if not value]:
        raise ConfigError(f"{empty[0]}= selects nothing; give a pattern such as {empty[0]}='D-*', or leave it out.")
    asked = [f"hydra.sweeper.{name}=true" for name, is_asked in flags.items() if is_asked]
    asked += [override(f"hydra.sweeper.{WORDS[key]}", value) for key, _, value in picks]
    if asked and any(word.startswith("hydra/sweeper=") for word in words):
        raise ConfigError(
            "--plan, --force, --smoke, only=, except= and retry= need the default sweeper; leave out hydra/sweeper=."
        )
    return [*kept, *asked]
