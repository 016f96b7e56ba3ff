"""The words and flags of `multirun` that are no settings of a run: they go to the sweeper."""

from collections.abc import Sequence
from typing import Annotated

import typer

from vgg_sweep.cli.app import complete_override
from vgg_sweep.cli.naming import refuse_run

WORDS = {"only": "only", "except": "excluded", "retry": "retry"}
"""As they are typed, and as the sweeper calls them."""
STATES = ("failed", "diverged", "interrupted")


def complete_picks(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of only=, except=, retry= and KEY=VALUE."""
    if args[-2:] == ["retry", "="]:
        return [state for state in STATES if state.startswith(incomplete)]
    if incomplete.startswith("retry="):
        return [f"retry={state}" for state in STATES if f"retry={state}".startswith(incomplete)]
    return [
        *(f"{word}=" for word in WORDS if incomplete and word.startswith(incomplete)),
        *complete_override(context, args, incomplete),
    ]


Picked = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings, such as model=D,E; and which runs: only='D-*', except='*-jitter', retry=failed.",
        parser=str.strip,
        autocompletion=complete_picks,
    ),
]


def for_sweeper(words: Sequence[str], **flags: bool) -> list[str]:
    """`words` and `flags` as overrides: only='D-*' becomes the sweeper's.

    Raises `ConfigError` for run=, for a word that says nothing, and for what another sweeper does not know.
    """
    from vgg_sweep.errors import ConfigError
    from vgg_sweep.plan.commands import override

    refuse_run("multirun", words)
    kept = [word for word in words if word.partition("=")[0] not in WORDS]
    picks = [word.partition("=") for word in words if word not in kept]
    if empty := [key for key, _, value in picks if not value]:
        raise ConfigError(f"{empty[0]}= picks nothing; give a pattern such as {empty[0]}='D-*', or leave it out.")
    asked = [f"hydra.sweeper.{name}=true" for name, is_asked in flags.items() if is_asked]
    asked += [override(f"hydra.sweeper.{WORDS[key]}", value) for key, _, value in picks]
    if asked and any(word.startswith("hydra/sweeper=") for word in words):
        raise ConfigError(
            "--plan, --force, --smoke, only=, except= and retry= need the default sweeper; leave out hydra/sweeper=."
        )
    return [*kept, *asked]
