"""The command that measures this machine: bench."""

from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import ConfigDir, app

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config


BENCHES = ("train", "score", "lrn", "data", "sweep")
BY_ITSELF = BENCHES[:3]
"""Those that need neither images nor a folder."""


@app.command()
def bench(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[train|score|lrn|data|sweep] [KEY=VALUE]", help="What to measure, and at which size."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    seconds: Annotated[float, typer.Option(min=0, help="At least so long for what is compared with one another.")] = 10,
    config_dir: ConfigDir = None,
) -> None:
    """How fast this machine is, and which settings suit it.

    Training, scoring, reading and sweeping beside how they are usually done.

    By itself net D at the paper's size; model=, crop=, width= or data=fractals give another. Let nothing else run.
    """
    from vgg_sweep.cli import compose
    from vgg_sweep.errors import ConfigError

    chosen = [word for word in words or [] if "=" not in word]
    overrides = [word for word in words or [] if "=" in word]
    for word in chosen:
        if word not in BENCHES:
            raise ConfigError(
                f"there is no bench '{word}'; choose of {', '.join(BENCHES)}, and write settings as KEY=VALUE."
            )
    given = {override.partition("=")[0] for override in overrides}
    at_paper_size = [] if given & {"data", "experiment"} else ["data=imagenet"]

    def task(config: "Config") -> None:
        from rich.console import Console

        from vgg_sweep.bench.bench import bench

        bench(config, chosen or BY_ITSELF, as_json=as_json, seconds=seconds, console=Console())

    compose.run(task, [*at_paper_size, *overrides], compose.Flags(config_dir))
