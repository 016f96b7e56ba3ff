"""`--format html`: the report as one self-contained page, filled into page.html, page.css, page.js.

jinja2 escapes every name it is given. Its Content-Security-Policy forbids the page whatever is not in it: it
loads nothing, and runs no script but ours.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from vgg_sweep.report.figures.figures import paper_order
from vgg_sweep.report.figures.plots import Plot, plots
from vgg_sweep.report.page import facts
from vgg_sweep.report.page.boxes import box_galleries
from vgg_sweep.report.page.gallery import (
    MAX_CLASSES,
    MAX_NETS,
    Gallery,
    ImageByImage,
    class_errors,
    galleries,
    image_by_image,
)
from vgg_sweep.report.page.grids import Grid, NetNumbers, difference_strips, grid, heat_grid, plain_grid, plot_grid
from vgg_sweep.report.page.inline import LegendEntry, inline_svg, legend
from vgg_sweep.report.results.groups import rows_of
from vgg_sweep.report.tables import pivot
from vgg_sweep.report.tables.claims import FOR_THESE_NETS, TOO_FEW_SEEDS
from vgg_sweep.report.tables.confusions import CONFUSIONS, MATRIX
from vgg_sweep.report.tables.contents import TABLES, Contents
from vgg_sweep.report.tables.runs import RUNS
from vgg_sweep.report.tables.table import TextTable, number, records, text
from vgg_sweep.version import __version__

MAX_SWEEPS = 4
"""Of more sweeps than this, and of more groups of settings, only the tables and figures show all."""

SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "?", "missing": "–"} | dict.fromkeys(
    TOO_FEW_SEEDS.values(), "·"
)


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page."""

    plot: Plot
    panels: list[Markup]
    legend: list[LegendEntry]
    grid: Grid
    has_paper: bool


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    text: list[str] = field(default_factory=list)
    claims: Sequence[Mapping[str, Any]] = ()
    """Each a row of the table and how it is shown."""
    verdicts: str = ""
    figures: list[PageFigure] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Title -> command lines."""

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.claims or self.figures or self.grids or self.galleries or self.commands)


def to_html(report: Contents) -> str:
    """The page. Draws the figures, and reads the posteriors and pictures of the images that it shows."""
    nets = _nets(report)
    net_numbers = {f"{config}-{train_scale}": number for number, (config, train_scale) in enumerate(nets)}
    classify = any(len(sweep.results) for sweep in report.sweeps)
    sections = _sections(report, net_numbers) if classify else _unclassified(report, net_numbers)
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return str(
        _template().render(
            title=", ".join(sweep.name for sweep in report.sweeps),
            version=__version__,
            about=facts.about(report),
            facts=facts.headline(report) if classify else [],
            chips=_chips(nets),
            sections=[section for section in sections if not section.is_empty],
            style=Markup(style),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


@cache
def _template() -> Any:
    here = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=here, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template("page.html")


# --- sections ---


def _sections(report: Contents, net_numbers: NetNumbers) -> list[Section]:
    shown = report.sweeps[:MAX_SWEEPS]
    close = [image_by_image(sweep) for sweep in shown if len(sweep.results)]
    return [
        Section("all", "All runs", grids=_all_runs(report, net_numbers)),
        Section("by", "By settings", grids=[plain_grid(table) for table in report.tables if table.name == pivot.NAME]),
        _claims(report),
        _missing(report),
        Section("figures", "Figures",
                figures=[_drawn(plot, net_numbers) for plot in plots(report.sweeps, report.pivot)]),
        Section("tables", "Tables: ours beside the paper’s",
                grids=_grids(report, net_numbers, "results", "claims", "boxes")),
        Section("trainable", "What makes depth trainable", grids=_grids(report, None, "training")),
        Section("transfer", "Features on other sets", grids=_grids(report, None, "probes")),
        Section("nets", "The nets: Tables 1 and 2", grids=facts.net_grids(report)),
        Section("images", "Image by image", galleries=[found for each in close for found in galleries(each)]),
        Section("boxes", "Predicted boxes", galleries=[found for sweep in shown for found in box_galleries(sweep)]),
        Section("classes", "Errors by class", grids=[
            *(_class_grid(each, net_numbers) for each in close), *_confusion_grids(report)
        ]),
        Section("settings", "Settings", grids=_grids(report, {}, "runs")),
        Section("provenance", "Provenance", grids=[facts.provenance(report), facts.runs_grid(report)],
                commands={"To make these runs again": facts.commands_of(report)}),
    ]  # fmt: skip


def _unclassified(report: Contents, net_numbers: NetNumbers) -> list[Section]:
    """The page of localisation runs, or of probed trunks, alone."""
    return [
        _missing(report),
        Section("tables", "Tables: ours beside the paper’s", grids=_grids(report, net_numbers, "boxes")),
        Section("transfer", "Features on other sets", grids=_grids(report, None, "probes")),
        Section(
            "boxes", "Predicted boxes", galleries=[found for each in report.sweeps for found in box_galleries(each)]
        ),
    ]


def _claims(report: Contents) -> Section:
    frame = report.frames.get("claims")
    if frame is None:
        return Section("claims", "Claims")
    where = [", ".join(filter(None, parts)) for parts in rows_of(frame[["sweep", "settings"]])]
    groups = list(dict.fromkeys(where))
    table = next(table for table in report.tables if table.name == "claims")
    cells = {column.key: column.cells for column in table.columns}
    claims = [
        {
            "row": row,
            "where": f" · {where[index]}" if len(groups) > 1 else "",
            "sign": SIGNS[row.verdict.removesuffix(FOR_THESE_NETS)],
            "points": "" if pd.isna(row.points) else _minus(cells["points"][index]),
            "interval": _minus(cells["points_interval"][index]),
            "how": _how(row, {key: column[index] for key, column in cells.items()}),
            "strip": strip,
        }
        for index, (row, strip) in enumerate(zip(rows_of(frame), difference_strips(frame), strict=True))
        if where[index] in groups[:MAX_SWEEPS]
    ]
    cut = f" The first {MAX_SWEEPS} of {len(groups)} groups are shown here, all in the table below."
    text = [
        "Points of top-1 error on the same images: to the right of the line is as the paper claims. "
        + " ".join(note for note in table.notes if note.startswith("For these nets"))
        + (cut if len(groups) > MAX_SWEEPS else ""),
        *table.above,
    ]
    more = {"To train the other seeds": table.more} if table.more else {}
    return Section("claims", "Claims", text, claims, f"{table.total}.", commands=more)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _how(row: Any, cells: Mapping[str, str]) -> str:
    found = [row.compared.replace(" - ", " against "), row.protocols]
    if row.pairs:
        found += [f"{cells['pairs']} pairs go this way", f"these nets, p: {cells['p_images']}"]
    if not pd.isna(row.p_holm):
        found.append(f"p {cells['p']}, Holm {cells['p_holm']}")
    return " · ".join([*found, row.note] if row.note else found)


def _missing(report: Contents) -> Section:
    text = [line.strip() for line in report.summary]
    if report.commands:
        text.append(
            "A dash marks a row that no run has filled yet. These commands fill them; finished work is not repeated."
        )
        return Section("missing", "What is missing", text, commands={"To fill the missing rows": report.commands})
    return Section("missing", "What is there", text)


def _all_runs(report: Contents, net_numbers: NetNumbers) -> list[Grid]:
    """The best row of each net where there are many, and all of them."""
    shown = next((table for table in report.tables if table.name == RUNS.name), None)
    if shown is None:
        return []
    whole = grid(shown, report.frames[RUNS.name], net_numbers)
    if not shown.brief:
        return [whole]
    columns = [replace(column, cells=[column.cells[row] for row in shown.brief]) for column in shown.columns]
    best = replace(shown, name="best", title="The best row of each net", columns=columns)
    first = grid(best, report.frames[shown.name].iloc[list(shown.brief)], net_numbers)
    return [first, replace(whole, title="All rows", notes=[], is_folded=True)]


def _grids(report: Contents, net_numbers: NetNumbers | None, *of: str) -> list[Grid]:
    """The tables that are made from these, but for that of all runs; without `net_numbers` their rows are no nets."""
    return [
        plain_grid(table) if net_numbers is None else grid(table, report.frames[table.name], net_numbers)
        for table in report.tables
        if table.name in TABLES and TABLES[table.name].of in of and table.name != RUNS.name
    ]


def _class_grid(close: ImageByImage, net_numbers: NetNumbers) -> Grid:
    errors = class_errors(close)
    more = f", the {MAX_CLASSES} hardest of {len(errors):,}" if len(errors) > MAX_CLASSES else ", hardest first"
    nets = close.single["members"].nunique()
    notes = [
        "Top-1 error in percent of the class's validation images, dense evaluation at a single scale; mean over the "
        "nets, and each net."
    ]
    if nets > MAX_NETS:
        notes.append(f"The first {MAX_NETS} of {nets} nets.")
    digest = hashlib.sha256(f"classes-{close.sweep.name}-{close.settings}".encode()).hexdigest()[:8]
    columns = [text("class"), number("images", "images", 0), *(number(name, name, 0) for name in errors.columns[2:])]
    rows = records(errors.head(MAX_CLASSES))
    shown = TextTable.of(f"classes-{digest}", f"{close.sweep.name}{more}", columns, rows, notes=notes)
    return heat_grid(shown, net_numbers)


def _confusion_grids(report: Contents) -> list[Grid]:
    """The matrix in percent of each class, and the most confused pairs, where it is known what the nets answer."""
    if not all(run.has_posteriors for sweep in report.sweeps for run in sweep.runs):
        return []
    made, confused = MATRIX.make(report.sweeps), CONFUSIONS.make(report.sweeps)
    shares = made.astype({name: float for name in made.columns[5:]})
    shares[shares.columns[5:]] = shares[shares.columns[5:]].mul(100 / shares["images"], axis=0)
    shown = MATRIX.rendered(shares)
    matrix = heat_grid(replace(shown, title=f"{shown.title}, in percent of each class"), {})
    return [matrix, *([plain_grid(CONFUSIONS.rendered(confused))] if len(confused) else [])]


# --- what they are made of ---


def _drawn(plot: Plot, net_numbers: NetNumbers) -> PageFigure:
    panels = [Markup(inline_svg(plot, panel, net_numbers)) for panel in plot.panels]
    return PageFigure(plot, panels, legend(plot), plot_grid(plot, net_numbers), bool(plot.marks["paper"].notna().any()))


def _nets(report: Contents) -> list[tuple[str, str]]:
    """Every (config, train scale) of the page: the runs', and the paper's where rows of its tables are shown."""
    ours = {(run.name, run.train_scale) for sweep in report.sweeps for run in sweep.runs}
    shown = [report.frames[table][["config", "train_scale"]] for table in "345" if table in report.frames]
    return sorted(ours | {(str(config), str(scale)) for frame in shown for config, scale in rows_of(frame)})


def _chips(nets: Sequence[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """What to choose nets by, their config and their train scale: the numbers of the nets of each."""
    chips: dict[str, dict[str, str]] = {}
    for part, title in enumerate(("config", "train scale")):
        for name in paper_order(list(dict.fromkeys(net[part] for net in nets))):
            numbers_of = " ".join(str(number) for number, net in enumerate(nets) if net[part] == name)
            chips.setdefault(title, {})[name] = numbers_of
    return chips
