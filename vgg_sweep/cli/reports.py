"""Commands that show sweeps and nets: status, report, describe."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vgg_sweep.cli.app import ConfigDir, Overrides, Sweeps, app, complete_sweep, newest_sweep
from vgg_sweep.cli.naming import complete_fuse
from vgg_sweep.errors import ConfigError

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config
    from vgg_sweep.report.tables.pivot import Pivot


SORTABLE = "report.tables.pivot.SORTABLE"
Reported = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SWEEP",
        help="Sweep folders or bundles; several are compared. Default: the most recent folder under outputs/.",
        autocompletion=complete_sweep,
    ),
]


@app.command()
def status(
    sweeps: Sweeps = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until nothing is running.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
) -> None:
    """Show which runs of a sweep are done, running, failed or waiting."""
    from vgg_sweep.cli.status import show_status

    show_status(sweeps or [newest_sweep()], watch=watch, as_json=as_json)


def completes(names: str) -> Callable[[str], list[str]]:
    """Shell completion by the names in a collection, MODULE.NAME, also behind a comma: md,c -> md,csv. Its module is
    imported when a shell asks.
    """
    module, _, collection = names.rpartition(".")

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        names = getattr(import_module(f"vgg_sweep.{module}"), collection)
        return [f"{before}{comma}{name}" for name in names if name.startswith(last)]

    return complete


def option_of(names: str, help: str, metavar: str | None = None) -> Any:
    """An option that completes as `completes` says."""
    return typer.Option(help=help, metavar=metavar, autocompletion=completes(names))


def file_option(help: str) -> Any:
    return typer.Option(metavar="FILE", dir_okay=False, help=help)


@app.command()
def report(
    sweeps: Reported = None,
    table: Annotated[
        list[str] | None, option_of("report.tables.contents.TABLES", "Only this table, such as 3; may be repeated.")
    ] = None,
    format: Annotated[
        list[str] | None,
        option_of(
            "report.report.ALL_FORMATS",
            "rich, md, csv, json, latex, parquet, html, svg, pdf, or a list such as md,csv.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Output folder; md, csv and json unless --format is given.")
    ] = None,
    fuse: Annotated[
        list[str] | None,
        typer.Option(
            help="Nets to average, as table fusion: D-jitter+E-jitter, SWEEP/D-jitter, or best:3.",
            autocompletion=complete_fuse,
        ),
    ] = None,
    bundle: Annotated[Path | None, file_option("Pack all that is needed to check the tables into a zip file.")] = None,
    errors_only: Annotated[
        bool, typer.Option("--errors-only", help="With --bundle: pack the misclassified images' ids, not posteriors.")
    ] = False,
    images: Annotated[Path | None, file_option("Write each net's prediction for each image: .csv, .parquet.")] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="EPOCH",
            help="Compare runs, finished or not, at an epoch; `common` is the last that all have.",
            autocompletion=lambda: ["common"],
        ),
    ] = None,
    seeds: Annotated[bool, typer.Option("--seeds", help="Also list the errors seed by seed.")] = False,
    by: Annotated[
        str | None, option_of(SORTABLE, "A table by settings, such as recipe.lr, seeds averaged.", "NAMES")
    ] = None,
    columns: Annotated[
        str | None, option_of(SORTABLE, "With --by: settings across the table, such as model.", "NAMES")
    ] = None,
    values: Annotated[
        str | None,
        option_of(
            "report.tables.pivot.VALUES", "With --by: the values shown, such as top1_error,train_seconds.", "NAMES"
        ),
    ] = None,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Show every row of the paper, and the commands that fill the missing ones."),
    ] = False,
    merge: Annotated[
        str,
        option_of("localise.merging.RULES", "How predicted boxes are merged (Table 9): overfeat, nms, mean or best."),
    ] = "overfeat",
    watch: Annotated[
        bool, typer.Option("--watch", help="Update the report whenever a run progresses, until none is running.")
    ] = False,
) -> None:
    """Show all runs, best first, and the paper's tables with ours.

    Made from the posteriors on disk: no GPU, no torch.
    """
    from rich.console import Console

    from vgg_sweep.report.report import report

    report(
        sweeps or [newest_sweep()],
        tables=_words(table),
        formats=_words(format),
        out=out,
        fuse=fuse or [],
        console=Console(),
        bundle=bundle,
        errors_only=errors_only,
        watch=watch,
        by_seed=seeds,
        missing=missing,
        images=images,
        at=at,
        pivot=_pivot(by, columns, values),
        merge=merge,
    )


@app.command()
def describe(
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    image_px: Annotated[
        int | None, typer.Option(min=1, help="Image side in pixels, for dense evaluation of larger images.")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Show Tables 1 and 2, computed from the nets.

    The default is the paper's size; data=fractals or width=, classes= and crop= give another. With model=NAME one
    net, layer by layer.
    """
    from vgg_sweep.cli import compose

    given = {override.partition("=")[0] for override in overrides or []}

    def task(config: "Config") -> None:
        import json

        from rich.console import Console

        from vgg_sweep.config.options import load_option
        from vgg_sweep.config.vocabulary import groups
        from vgg_sweep.report.tables.nets import COUNTED, layer_tables, net_tables, net_values, size_of
        from vgg_sweep.report.writers.terminal import to_rich

        one = "model" in given
        models = [config.model] if one else [load_option("model", name) for name in groups(config_dir)["model"]]
        size = size_of(config, image_px)
        if as_json:
            print(json.dumps(net_values(models, size, layer_by_layer=one), indent=1))
            return
        console = Console()
        for table in layer_tables(models[0], size) if one else net_tables(models, size):
            console.print(to_rich(table, console.width))
        console.print(COUNTED, style="dim")

    compose.run(task, compose.at_paper_size(overrides or []), compose.Flags(config_dir))


def _pivot(by: str | None, columns: str | None, values: str | None) -> "Pivot | None":
    """The table that --by, --columns and --values ask for."""
    from vgg_sweep.report.tables.pivot import Pivot

    if by is None:
        if columns or values:
            raise ConfigError("--columns and --values describe the table of --by; add --by NAMES.")
        return None
    return Pivot(by.split(","), _words([columns or ""]), _words([values or "top1_error"]))


def _words(given: list[str] | None) -> list[str]:
    """--format md,csv --format json -> md, csv, json."""
    return [word for text in given or [] for word in text.split(",") if word]
