"""Commands that exchange nets with other libraries: import, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vgg_sweep.cli.app import ConfigDir, app, complete_override, run_folder

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config


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
    """Make runs of published weights: of torchvision, timm, Oxford, Caffe, Keras.

    With data.root=DIR they are scored at once, and the tables shown.
    """
    from vgg_sweep.cli import compose
    from vgg_sweep.errors import ConfigError

    files = [Path(word) for word in words if "=" not in word or Path(word).is_file()]
    overrides = [word for word in words if Path(word) not in files]
    given = {override.partition("=")[0] for override in overrides}
    at_paper_size = [] if given & {"data", "experiment"} else ["data=imagenet"]
    if not files:
        raise ConfigError("import needs a file of weights, such as vgg16.pth or VGG_ILSVRC_16_layers.caffemodel.")

    def task(config: "Config") -> None:
        from vgg_sweep.exchange.importing import import_weights, score_imported

        runs = [import_weights(file, config, given, typer.echo) for file in files]
        if config.data.root is not None:
            score_imported(runs)
            return
        for run in runs:
            typer.echo(f"Imported: {run.folder.path}")
        typer.echo(f"To score: vgg-sweep score run={runs[-1].folder.path} protocol=multi data.root=DIR")

    compose.run(task, [*at_paper_size, *overrides], compose.Flags(config_dir))


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, or its id in the most recent sweep.")],
    to: Annotated[
        Literal["torchvision", "timm", "safetensors", "onnx", "keras", "torchscript", "pt2"],
        typer.Option(help="The library or file format that shall read it."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File, or folder to write into; by itself the current one. For keras .keras or .h5."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write the file anew if it is there.")] = False,
) -> None:
    """Write a trained net for another library, with a model card.

    The file is read by that library and compared with the net before it is there.
    """
    from vgg_sweep.exchange.exporting import export

    exported = export(run_folder(run), to, out, force=force)
    typer.echo(f"{exported.file}: {to} agrees with the net, log-posteriors to {exported.difference:.0e}")
    typer.echo(f"{exported.card}: its model card")
