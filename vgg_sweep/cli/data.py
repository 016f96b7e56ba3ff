"""Commands on image sets: data prepare, data check."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import ConfigDir, Overrides, app

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config

data = typer.Typer(help="Find, index and check image sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")


@data.command()
def prepare(
    overrides: Overrides = None,
    again: Annotated[bool, typer.Option("--again", help="Rebuild the index even if it is up to date.")] = False,
    with_statistics: Annotated[
        bool, typer.Option("--statistics", help="Also compute the mean and the RGB PCA, which runs share.")
    ] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Find an image set, check its layout, and index it.

    vgg-sweep data prepare data=imagenet data.root=DIR

    Reports the layout, the numbers of images and classes, and where the index is. Images are not copied or extracted.
    data.download=true downloads a published set first. Training does all of this too; this shows it beforehand.
    """
    from vgg_sweep.cli import compose

    compose.run(
        lambda config: prepare_set(config, again=again, with_statistics=with_statistics),
        overrides or [],
        compose.Flags(config_dir),
    )


@data.command()
def check(
    overrides: Overrides = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", dir_okay=False, help="Also write a CSV file, one row per problem.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object with every problem.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Read every image of a set and list every problem.

    vgg-sweep data check data=folder data.root=DIR workers=8 --csv problems.csv

    Undecodable files, wrong labels, duplicates within and across train and val, wrong extensions, odd sizes,
    very unequal classes, and boxes with swapped corners, outside their image, or of an image that is not there.
    workers=N reads N images at a time. Ctrl-C stops and shows what was found so far.

    Exit code: 0 without problems, 1 with some, 2 if there is no such set.
    """
    from vgg_sweep.cli import compose
    from vgg_sweep.cli.findings import check_set

    compose.run(lambda config: check_set(config, csv, as_json=as_json), overrides or [], compose.Flags(config_dir))


def prepare_set(config: "Config", *, again: bool, with_statistics: bool) -> None:
    """Index the set of `config` and say what it is."""
    from vgg_sweep.cli.screen import shown_progress, size
    from vgg_sweep.images.sets.sources import is_indexed, open_images, open_index
    from vgg_sweep.images.sets.statistics import statistics
    from vgg_sweep.images.sets.wnids import shown
    from vgg_sweep.runs.progress import Interrupted

    began = time.monotonic()
    with shown_progress("list") as progress:
        images = open_images(config, progress, again=again)
    seconds = time.monotonic() - began
    typer.echo(
        f"{config.data.name}: {len(images.train):,} training and {len(images.val):,} validation images, "
        f"{len(images.classes)} classes, in {seconds:.1f} s"
    )
    some = [shown(name) for name in images.classes[:3]]
    typer.echo(f"classes: {', '.join(some)}{' ...' if len(images.classes) > 3 else ''}")
    if is_indexed(config.data):
        index = open_index(config)
        notes = [*index.facts["notes"]]
        if mislabelled := index.facts["mislabelled"]:
            notes.append(f"{len(mislabelled)} images are in the folder of another class than the list of labels gives")
        said = [f"found as: {index.facts['layout']}", *(f"note: {note}" for note in notes)]
        typer.echo("\n".join([*said, f"index: {index.folder} ({size(index.num_bytes)})"]))
    if with_statistics:
        try:
            with shown_progress("mean") as progress:
                figures = statistics(images, Path(config.cache), max(1, config.workers), progress)
        except KeyboardInterrupt:
            raise Interrupted("stopped; repeat the command to continue computing the mean") from None
        typer.echo("mean RGB of 0 to 255: " + ", ".join(f"{255 * mean:.2f}" for mean in figures.mean_rgb))
