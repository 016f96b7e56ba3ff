"""Commands that exchange nets with other libraries: import, export."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vgg_sweep.cli.app import ConfigDir, app, complete_override
from vgg_sweep.cli.naming import RunName, run_folder
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config
    from vgg_sweep.plan.runs import Run


@app.command("import")
def import_(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|KEY=VALUE",
            help="Files of weights, and settings such as preprocessing=caffe.",
            autocompletion=complete_override,
        ),
    ],
    config_dir: ConfigDir = None,
) -> None:
    """Make runs of published weights.

    Reads files of torchvision, timm, Oxford, Caffe and Keras; with data.root=DIR, scores them and shows the tables.
    """
    from vgg_sweep.cli import compose
    from vgg_sweep.plan.commands import command

    files = [Path(word) for word in words if "=" not in word or Path(word).is_file()]
    overrides = [word.strip() for word in words if Path(word) not in files]
    given = {override.partition("=")[0] for override in overrides}
    if not files:
        raise ConfigError("import needs a file of weights, such as vgg16.pth or VGG_ILSVRC_16_layers.caffemodel.")
    for file in files:
        if not os.path.lexists(file):
            raise ConfigError(f"there is no file {file}.")

    def task(config: "Config") -> None:
        from vgg_sweep.exchange.importing import import_weights

        runs = [import_weights(file, config, given, typer.echo) for file in files]
        if config.data.root is not None and not any(run.config.imported.trunk for run in runs):
            score_imported(runs)
            return
        for run in runs:
            typer.echo(f"Imported: {run.folder.path}")
        if not runs[-1].config.imported.trunk:
            typer.echo(f"To score: {command('score', str(runs[-1].folder.path), 'protocol=multi', 'data.root=DIR')}")

    compose.run(task, compose.at_paper_size(overrides), compose.Flags(config_dir))


@app.command()
def export(
    run: RunName,
    to: Annotated[
        Literal["torchvision", "timm", "safetensors", "onnx", "keras", "pt2"],
        typer.Option(help="Target library or file format (pt2 and onnx replace TorchScript)."),
    ],
    out: Annotated[
        str | None,
        typer.Option(help="Output file or folder (a new folder as NEW/); default: here. For keras, .keras or .h5."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a trained net for another library, with a model card.

    The file is read by that library and its outputs compared with the net's before anything is written.
    """
    from vgg_sweep.cli.card import export

    folder = run_folder(run)
    if out is not None and out.endswith("/"):
        Path(out).mkdir(parents=True, exist_ok=True)
    exported = export(folder, to, None if out is None else Path(out), force=force)
    typer.echo(f"{exported.file}: {to} agrees with the net, log-posteriors to {exported.difference:.0e}")
    typer.echo(f"{exported.card}: its model card")


def score_imported(runs: Sequence["Run"]) -> None:
    """Score imported runs and show the tables of their sweeps."""
    from rich.console import Console

    from vgg_sweep.report.report import report
    from vgg_sweep.sweep.work import check, work

    check(runs[0].config)
    for run in runs:
        work(run, live=True)
    sweeps = list(dict.fromkeys(run.folder.path.parent for run in runs))
    report(sweeps, tables=None, formats=None, out=None, fuse=[], console=Console())
