"""The command line: parse and dispatch. Nothing heavy is imported before a command needs it, so `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vgg_sweep import __version__

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def program() -> None:
    """x"""


@app.command()
def train(overrides: Annotated[list[str] | None, typer.Argument()] = None,
          cfg: Annotated[Literal["job", "hydra", "all"] | None, typer.Option("--cfg", "-c")] = None) -> None:
    from vgg_sweep import compose
    compose.run(lambda config: print(config), overrides or [], compose.Flags(cfg=cfg))


def main() -> None:
    app()
