"""The command that measures this machine: bench."""

from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import ConfigDir, app, completed, words_argument
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config


BENCHES = ("train", "score", "data")
DEFAULT = BENCHES[:2]
"""Those that need no images."""


def complete_bench(context: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """Shell completion of what to measure, or of KEY=VALUE."""
    measured = [each for each in BENCHES if each.startswith(incomplete)]
    return [*measured, *completed(context, args, incomplete, {})]


@app.command()
def bench(
    words: Annotated[
        list[str] | None,
        words_argument("[train|score|data] [KEY=VALUE]", "What to measure, and at which size.", complete_bench),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    thorough: Annotated[bool, typer.Option("--thorough", help="Whole batches, more images and all 150 crops.")] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Minimum seconds for each measurement.", show_default="10")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Measure how fast this machine trains, scores and reads images.

    Training and scoring are also given as a share of its matrix-product rate. The default is net D at the paper's
    size; model=, crop=, width= or data=fractals give another. Run nothing else meanwhile.
    """
    from vgg_sweep.cli import compose

    chosen = [word for word in words or [] if "=" not in word]
    overrides = [word for word in words or [] if "=" in word]
    for word in chosen:
        if word not in BENCHES:
            raise ConfigError(
                f"bench {word} is not known; choose from {', '.join(BENCHES)}, and write settings as KEY=VALUE."
            )

    def task(config: "Config") -> None:
        import json
        from dataclasses import asdict, replace

        from rich.console import Console

        from vgg_sweep.bench.bench import bench, conclusions, table
        from vgg_sweep.bench.timing import QUICK, THOROUGH

        effort = THOROUGH if thorough else QUICK
        if seconds is not None:
            effort = replace(effort, seconds=seconds)
        names, errors = chosen or DEFAULT, Console(stderr=True, markup=False, highlight=False)
        with errors.status("") as status:
            rows = bench(config, names, effort, status.update if errors.is_terminal else errors.print)
        if as_json:
            print(json.dumps([asdict(row) for row in rows], indent=1))
            return
        console = Console()
        for name in names:
            console.print(table(name, [row for row in rows if row.bench == name]))
        for sentence in conclusions(rows, config):
            console.print(sentence, markup=False)

    compose.run(task, compose.at_paper_size(overrides), compose.Flags(config_dir))
