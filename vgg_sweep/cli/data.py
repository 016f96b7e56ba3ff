"""Commands on image sets: data prepare, data check."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgg_sweep.cli.app import ConfigDir, Overrides, app

if TYPE_CHECKING:
    from vgg_sweep.config.schema import Config
    from vgg_sweep.images.check.check import Findings
    from vgg_sweep.images.sets.index import Index
    from vgg_sweep.images.sets.splits import ImageSet

data = typer.Typer(help="Image sets: find, index and check them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")

PLAIN_LINE_EVERY_SECONDS = 10.0


@data.command()
def prepare(
    overrides: Overrides = None,
    again: Annotated[bool, typer.Option("--again", help="Rebuild the index even if it is up to date.")] = False,
    with_statistics: Annotated[
        bool, typer.Option("--statistics", help="Also compute the mean and the colour components, which runs share.")
    ] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Find an image set, check its layout, and index it.

    vgg-sweep data prepare data=imagenet data.root=DIR

    Reports the layout, the numbers of images and classes, and where the index is. Images are not copied or extracted.
    data.download=true downloads a published set first. Training does all of this too; here you see it beforehand.
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
        Path | None, typer.Option("--csv", dir_okay=False, help="Write a row for each problem to a file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object with every problem.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Read every image of a set and list every problem.

    vgg-sweep data check data=folder data.root=DIR workers=8 --csv problems.csv

    Undecodable files, wrong labels, duplicates within and across train and val, wrong extensions, odd sizes,
    classes of very different size, and boxes, where there are some, that are swapped, outside or of no image.
    workers=N reads N images at a time. Ctrl-C shows what was found so far.

    Exit code: 0 without problems, 1 with some, 2 if there is no such set.
    """
    from vgg_sweep.cli import compose

    compose.run(lambda config: check_set(config, csv, as_json=as_json), overrides or [], compose.Flags(config_dir))


def prepare_set(config: "Config", *, again: bool, with_statistics: bool) -> None:
    """Index the set of `config` and say what it is."""
    import time

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
        _say_index(open_index(config))
    if with_statistics:
        try:
            with shown_progress("mean") as progress:
                figures = statistics(images, Path(config.cache), max(1, config.workers), progress)
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command goes on where the mean was last kept") from None
        typer.echo("mean RGB of 0 to 255: " + ", ".join(f"{255 * mean:.2f}" for mean in figures.mean_rgb))


def check_set(config: "Config", csv: Path | None, *, as_json: bool) -> None:
    """Check the set of `config`; show what was found so far if it is stopped."""
    import json

    from rich.console import Console

    from vgg_sweep.cli.findings import findings_csv, findings_json, findings_table, verdict
    from vgg_sweep.errors import ConfigError
    from vgg_sweep.images.check.check import Findings, check_images
    from vgg_sweep.images.sets.sources import check_source, is_indexed, open_images, open_index
    from vgg_sweep.runs.files import write_text

    if csv is not None and not csv.absolute().parent.is_dir():
        raise ConfigError(f"--csv {csv}: {csv.parent} is not a folder; make it first.")
    if not config.data.download:
        check_source(config.data)
    with shown_progress("list") as progress:
        images = open_images(config, progress)
    facts = open_index(config).facts if is_indexed(config.data) else {"notes": [], "mislabelled": []}
    findings = Findings(notes=list(facts["notes"]))
    was_stopped = False
    try:
        with shown_progress("check") as progress:
            check_images(images, config, findings, progress, facts["mislabelled"])
        _check_boxes(config, images, findings)
    except KeyboardInterrupt:
        was_stopped = True
    if csv is not None:
        write_text(csv, findings_csv(findings))
    if as_json:
        typer.echo(json.dumps(findings_json(findings), indent=1))
    else:
        console = Console()
        console.print(findings_table(findings), soft_wrap=True)
        console.print(
            f"{config.data.name}: {verdict(findings.problems)}", markup=False, highlight=False, soft_wrap=True
        )
    if was_stopped:
        _end_stopped(findings)
    raise typer.Exit(1 if findings.problems else 0)


def _check_boxes(config: "Config", images: "ImageSet", findings: "Findings") -> None:
    """Those of `data.boxes`, or where boxes usually lie; drawn ones are exact."""
    from vgg_sweep.errors import ConfigError
    from vgg_sweep.images.check.check import check_boxes
    from vgg_sweep.images.sets.boxes import find_boxes, open_boxes

    if config.data.source == "fractals" or not find_boxes(config.data):
        return
    try:
        with shown_progress("boxes") as progress:
            check_boxes(images, open_boxes(config, images, progress), findings, progress)
    except ConfigError as error:
        if config.data.boxes is not None:
            raise
        findings.notes.append(str(error))


@contextmanager
def shown_progress(word: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left on a terminal, else a line now and then; on stderr, so that stdout is for results."""
    import sys
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(word, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    began = said_at = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= PLAIN_LINE_EVERY_SECONDS and done:
            said_at = now
            left = (now - began) / done * (total - done)
            typer.echo(f"{word} {done:,} of {total:,}, {left:.0f} s left", err=True)

    yield say


def _say_index(index: "Index") -> None:
    from rich.filesize import decimal

    typer.echo(f"found as: {index.facts['layout']}")
    for note in index.facts["notes"]:
        typer.echo(f"note: {note}")
    if mislabelled := index.facts["mislabelled"]:
        typer.echo(f"note: {len(mislabelled)} images lie in the folder of another class than their list of labels says")
    typer.echo(f"index: {index.folder} ({decimal(index.num_bytes)})")


def _end_stopped(findings: "Findings") -> None:
    from vgg_sweep.runs.progress import Interrupted

    counts = findings.counts
    raise Interrupted(f"stopped after {counts.num_images:,} of {counts.num_total:,} images; duplicates were not sought")
