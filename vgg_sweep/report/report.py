"""`vgg-sweep report`: from the posteriors of a sweep to the paper's tables and claims. Needs no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from vgg_sweep.config.options import choose_one
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.localise.merging import RULES
from vgg_sweep.plan.commands import merged
from vgg_sweep.report.results.answers import image_table
from vgg_sweep.report.results.bundle import opened, pack
from vgg_sweep.report.results.probes import probe_frame
from vgg_sweep.report.results.results import Source, read_runs, read_sweeps, together
from vgg_sweep.report.results.unfinished import refreshes
from vgg_sweep.report.tables.contents import TABLES, Contents, make_contents
from vgg_sweep.report.tables.epochs import at_epoch
from vgg_sweep.report.tables.pivot import Pivot
from vgg_sweep.report.tables.runs import BY_SEED
from vgg_sweep.report.tables.transfer import OF_PROBES
from vgg_sweep.report.writers import latex, markdown
from vgg_sweep.report.writers.data import to_csv, to_json, to_parquet
from vgg_sweep.report.writers.terminal import show, show_commands, show_tables
from vgg_sweep.runs.files import write_bytes
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.printable import IN_PRINT

Files = Mapping[str, str | bytes]
"""File name -> what is in it."""


def report(
    sweeps: Sequence[Path],
    *,
    tables: Sequence[str] | None,
    formats: Sequence[str] | None,
    out: Path | None,
    fuse: Sequence[str],
    console: Console,
    bundle: Path | None = None,
    errors_only: bool = False,
    watch: bool = False,
    by_seed: bool = False,
    missing: bool = False,
    pivot: Pivot | None = None,
    merge: str = "overfeat",
    images: Path | None = None,
    at: str | None = None,
) -> None:
    """Show the tables of `sweeps`, folders or bundles, on `console`, or write them into the folder `out`.

    `tables` names some of them (all if empty), `by_seed` adds that of every seed; those named, and with `missing` all,
    have every row of the paper's, others what is there. `pivot` is a table by settings, before those named, and alone
    if none is. `formats` names some of rich and `FORMATS`. Without `out` everything is printed, as rich if no format is
    named; with it, `FILES` are written. `fuse` names nets to be averaged, `merge` the rule by which predicted boxes
    become one. `bundle` is a file to pack the sweeps into, with their posteriors or `errors_only`; `images` one for
    what each net answers to each image. With `at` the report is of an epoch of training, of runs that need not be
    finished, and of nothing else.
    `watch` goes on, and shows and writes everything anew whenever a run has come further, until none is at work. Raises
    `ConfigError` for an unknown table, format or net, `RunError` where there is nothing to report.
    """
    _known("merging", [merge], RULES)
    chosen = _known("format", formats or [], ALL_FORMATS) or (["rich", *FILES] if out else ["rich"])
    names = _known("table", tables or [], TABLES)
    if not names and (pivot is None or "html" in chosen):
        names = [name for name, table in TABLES.items() if not table.if_asked]
    names += [BY_SEED.name] if by_seed else []
    if out is None and (unprintable := [name for name in chosen if name not in PRINTABLE]):
        raise ConfigError(f"--format {unprintable[0]} makes files; name a folder for them with --out DIR.")
    if errors_only and bundle is None:
        raise ConfigError("--errors-only says what goes into a bundle; name its file with --bundle FILE.")
    if watch and out is None and chosen != ["rich"]:
        raise ConfigError(
            "--watch with a format other than rich rewrites files; name a folder for them with --out DIR."
        )
    if images is not None and images.suffix not in TABLE_FILES:
        raise ConfigError(f"--images {images} has an unknown ending; use {' or '.join(TABLE_FILES)}.")
    if at is not None and not {"rich", *PLAIN} >= set(chosen):
        raise ConfigError(f"--at gives one table and no figures; choose --format from rich, {', '.join(PLAIN)}.")
    with opened(sweeps) as sources:

        def fresh() -> Contents:
            if at is not None:
                made = of_epoch(sources, at)
            else:
                made = make_contents(read_sweeps(sources, fuse, merge), names, missing or bool(tables), pivot)
            deliver(made, chosen, out, console)
            return made

        made = _watched([source.folder for source in sources], fresh, console) if watch else fresh()
        if images is not None and made is not None:
            frame, under = image_table(made.sweeps)
            images.parent.mkdir(parents=True, exist_ok=True)
            write({images.name: TABLE_FILES[images.suffix](frame)}, images.parent)
            console.print(Text(f"Written to {images}: the answers of each net to {len(frame):,} images, by {under}"))
        if bundle is not None and made is not None:
            specs = dict.fromkeys([*(spec for source in sources for spec in source.fuse), *fuse])
            pack(bundle, made.sweeps, list(specs), with_posteriors=not errors_only)
            console.print(Text(f"Packed into {bundle}, {bundle.stat().st_size / 1e6:.1f} MB"))


def _watched(folders: Sequence[Path], fresh: Callable[[], Contents], console: Console) -> Contents | None:
    """The last of many reports; None if Ctrl-C ended them. What fails while runs are at work may succeed later."""
    made: Contents | None = None
    failure: RunError | None = None
    try:
        for _ in refreshes(folders):
            if console.is_terminal:
                console.clear()
            try:
                made, failure = fresh(), None
            except RunError as error:
                made, failure = None, error
                console.print(Text(str(error)))
    except KeyboardInterrupt:
        console.print(Text("Stopped watching; the runs continue."))
        return None
    if failure:
        raise failure
    return made


def of_epoch(sources: Sequence[Source], at: str) -> Contents:
    """The runs at an epoch of training, of sweeps that may have nothing else yet."""
    runs = [run for source in sources for run in read_runs(source.folder, source.name)]
    table = at_epoch(runs, at)
    frame = table.make(runs)
    return Contents([], {table.name: frame}, [table.rendered(frame)], [f"{len(frame)} of {len(runs)} runs."], [])


def show_probes(runs: Sequence[RunFolder], console: Console) -> None:
    """Show what probes found with the features of `runs`, which need not be scored."""
    sweeps = {run.path.parent: [other for other in runs if other.path.parent == run.path.parent] for run in runs}
    probes = together(probe_frame(str(sweep), dict.fromkeys(own)) for sweep, own in sweeps.items())
    shown = [table.rendered(frame) for table in OF_PROBES if len(frame := table.make(probes))]
    show_tables(shown, console)
    show_commands(merged(command for table in shown for command in table.commands), console)


def deliver(made: Contents, formats: Sequence[str], out: Path | None, console: Console) -> None:
    """Show or write what is made, in each format."""
    if "rich" in formats:
        show(made, console)
    by_format = [FORMATS[format](made) for format in formats if format != "rich"]
    if out is None:
        console.file.write("\n".join(text for files in by_format for text in _printed(files)))
        return
    files = {name: body for each in by_format for name, body in each.items()}
    if files:
        write(files, out)
        console.print(Text(f"Written to {out}: {', '.join(files)}"))


def _known(kind: str, asked: Sequence[str], known: Iterable[str]) -> list[str]:
    for name in asked:
        if name not in known:
            raise ConfigError(f"there is no {kind} '{name}'; {choose_one(known, name)}")
    return list(dict.fromkeys(asked))


def _printed(files: Files) -> list[str]:
    """The whole report where one file holds it, else all files."""
    texts = {name: body for name, body in files.items() if isinstance(body, str)}
    return [text for name, text in texts.items() if name.startswith("report.")] or list(texts.values())


def write(files: Files, out: Path) -> None:
    """Each file whole into the folder `out`, which is made if it is not there."""
    out.mkdir(parents=True, exist_ok=True)
    for name, body in files.items():
        write_bytes(out / name, body.encode(errors=IN_PRINT) if isinstance(body, str) else body)


# --- formats: what each makes of the contents ---


def _tables(made: Contents, ending: str, to_body: Callable[[pd.DataFrame], str | bytes]) -> Files:
    """One file a table."""
    return {f"{file_stem(name)}.{ending}": to_body(frame) for name, frame in made.frames.items()}


def _latex(made: Contents) -> Files:
    alone = {"report.tex": latex.document(made.tables, made.summary, made.commands)}
    return alone | {f"{file_stem(table.name)}.tex": latex.to_latex(table) for table in made.tables}


def _html(made: Contents) -> Files:
    from vgg_sweep.report.page.page import to_html  # with matplotlib, which only the page and the figures need

    return {"report.html": to_html(made)}


def _figures(kind: str, made: Contents) -> Files:
    from vgg_sweep.report.figures.figures import figure_files

    return figure_files(kind, made)


def file_stem(table: str) -> str:
    """What the files of a table are called: table3, claims."""
    return f"table{table}" if table.isdigit() else table


FORMATS: dict[str, Callable[[Contents], Files]] = {
    "md": lambda made: {"report.md": markdown.document(made)},
    "csv": lambda made: _tables(made, "csv", to_csv),
    "json": lambda made: {"report.json": to_json(list(made.frames.values()))},
    "latex": _latex,
    "parquet": lambda made: _tables(made, "parquet", to_parquet),
    "html": _html,
    "svg": partial(_figures, "svg"),
    "pdf": partial(_figures, "pdf"),
}
"""What makes the files of each format. `rich`, the terminal's, makes none."""

ALL_FORMATS = ("rich", *FORMATS)

TABLE_FILES: dict[str, Callable[[pd.DataFrame], str | bytes]] = {".csv": to_csv, ".parquet": to_parquet}
"""What makes a file of one table, by its ending."""

PLAIN = ("md", "csv", "json", "latex", "parquet")
"""The formats of tables alone."""

FILES = ("md", "csv", "json")
"""What `out` receives where no format is named."""

PRINTABLE = ("rich", "md", "csv", "json", "latex", "html")
"""The formats that may be printed; others need `out`."""
