"""Tables as the page has them: the cells of `layouts.py`, with the nets of each row for the filter and, beside the
numbers, a strip that draws them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from vgg_sweep.report.figures.plots import Plot
from vgg_sweep.report.page.inline import numbers
from vgg_sweep.report.results.means import rows_of
from vgg_sweep.report.tables.layouts import Column, Shown

MAX_ROWS = 300
LONG_CHARACTERS = 28
"""A column with a longer cell may break its lines."""

NetNumbers = Mapping[str, int]
"""The number by which the page's filter knows a net, by slug such as D-jitter."""


@dataclass(frozen=True)
class Strip:
    """An error, its interval and the paper's value on a common scale, in percent of the scale's length."""

    at: float
    low: float
    high: float
    paper: float | None = None
    zero: float | None = None
    """Where a difference of nothing lies, on the scale of a claim."""

    @property
    def width(self) -> float:
        return round(self.high - self.low, 2)


@dataclass(frozen=True)
class Row:
    cells: list[str]
    nets: str = ""
    """Numbers of the nets it is about; empty if it always shows."""
    strip: Strip | None = None
    is_missing: bool = False


@dataclass(frozen=True)
class Heading:
    heading: str
    look: str
    """Style classes."""
    nets: str = ""
    is_heat: bool = False


@dataclass(frozen=True)
class Grid:
    id: str
    title: str
    columns: list[Heading]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    strip_ends: tuple[str, str] = ("", "")
    """What stands over the ends of the strips' scale."""
    is_sortable: bool = True

    @property
    def strips(self) -> bool:
        return any(row.strip for row in self.rows)


def grid(table: Shown, frame: pd.DataFrame, net_numbers: NetNumbers) -> Grid:
    """A table of the report."""
    columns = [_heading(column) for column in table.columns]
    cells = list(zip(*(column.cells for column in table.columns), strict=True))
    strips, strip_ends = _strips(frame)
    rows = [
        Row(list(texts), numbers(_nets_of(row, net_numbers), net_numbers), strip, bool(row.get("command")))
        for texts, (_, row), strip in zip(cells, frame.iterrows(), strips, strict=True)
    ]
    notes = [*table.notes, *_strip_notes(strips)]
    return bounded(Grid(f"table-{table.name}", table.title, columns, rows, notes, strip_ends))


def plain_grid(id: str, title: str, frame: pd.DataFrame, *, notes: Sequence[str] = (), sortable: bool = True) -> Grid:
    """A table of text, some of which is numbers."""
    columns = [
        Column(str(name), [str(cell) for cell in frame[name]], is_number=_is_number(frame[name])) for name in frame
    ]
    rows = [Row(list(cells)) for cells in zip(*(column.cells for column in columns), strict=True)]
    return bounded(Grid(id, title, [_heading(column) for column in columns], rows, list(notes), is_sortable=sortable))


def bounded(table: Grid) -> Grid:
    """With at most `MAX_ROWS` rows, and a note that says of how many."""
    if len(table.rows) <= MAX_ROWS:
        return table
    note = f"The first {MAX_ROWS} of {len(table.rows):,} rows; report --format csv has all."
    return replace(table, rows=table.rows[:MAX_ROWS], notes=[note, *table.notes])


def plot_grid(plot: Plot, net_numbers: NetNumbers) -> Grid:
    """The marks of a figure as a table."""
    points = plot.points
    columns: dict[str, Callable[[Any], str]] = {}
    if points["panel"].nunique() > 1:
        columns["panel"] = lambda row: row.panel
    columns["nets"] = lambda row: " + ".join(row.nets)
    columns[plot.series or "which"] = lambda row: row.series
    if not plot.has_categories:
        columns[plot.x] = lambda row: f"{row.x:,.4g}"
    elif plot.sideways:
        columns["method"] = lambda row: row.x.split("\n")[1]
    else:
        columns["weight layers"] = lambda row: row.x.split("\n")[1]
    if "train" in points:
        columns["training error (%)"] = lambda row: f"{row.train:.1f}"
    columns["validation error (%)" if "train" in points else plot.y] = lambda row: f"{row.y:.1f}"
    if points["low"].notna().any():
        columns["95 %"] = lambda row: f"{row.low:.1f}–{row.high:.1f}"
    if points["paper"].notna().any():
        columns["paper"] = lambda row: "–" if math.isnan(row.paper) else f"{row.paper:.1f}"
    marks = list(rows_of(points))
    frame = pd.DataFrame({name: [cell(row) for row in marks] for name, cell in columns.items()})
    table = plain_grid(f"{plot.name}-data", plot.title, frame)
    rows = [replace(row, nets=numbers(mark.nets, net_numbers)) for row, mark in zip(table.rows, marks, strict=False)]
    return replace(table, rows=rows)


def claim_strips(frame: pd.DataFrame) -> list[Strip | None]:
    """Points and interval of each claim on one scale with nothing in its middle: to the right is as claimed."""
    reach = float(frame[["points_low", "points_high"]].abs().max().max())

    def place(points: float) -> float:
        return round(50 + 50 * points / reach, 2)

    return [
        None
        if math.isnan(row.points)
        else Strip(place(row.points), place(row.points_low), place(row.points_high), zero=50)
        for row in rows_of(frame)
    ]


def _strips(frame: pd.DataFrame) -> tuple[list[Strip | None], tuple[str, str]]:
    if "points_low" in frame:
        return claim_strips(frame), ("against the claim", "as claimed")
    if "top1_low" not in frame or frame["top1_error"].isna().all():
        return [None] * len(frame), ("", "")
    published = pd.to_numeric(frame["paper_top1_error"]) if "paper_top1_error" in frame else pd.Series(dtype=float)
    top = 10 * math.ceil(max(frame["top1_high"].max(), published.max() if published.notna().any() else 0) / 10)

    def place(error: float | None) -> float | None:
        return None if error is None or math.isnan(error) else round(100 * error / top, 2)

    strips = []
    for (_, row), theirs in zip(frame.iterrows(), published.reindex(frame.index), strict=True):
        at, low, high = (place(row[f"top1_{part}"]) for part in ("error", "low", "high"))
        strips.append(None if at is None or low is None or high is None else Strip(at, low, high, place(theirs)))
    return strips, ("0", f"{top} %")


def _strip_notes(strips: Sequence[Strip | None]) -> list[str]:
    if any(strip and strip.paper is not None for strip in strips):
        return ["On the scale: ● our top-1 error and its interval, ○ the paper's."]
    return []


def _heading(column: Column) -> Heading:
    longest = max((len(cell) for cell in column.cells), default=0)
    looks = ["number"] if column.is_number else ["long"] if longest > LONG_CHARACTERS else []
    if column.heading.startswith("paper"):
        looks.append("paper")
    return Heading(column.heading, " ".join(looks))


def _nets_of(row: pd.Series, net_numbers: NetNumbers) -> list[str]:
    """The slugs of a row: of one net, or of those fused."""
    config, train_scale = row.get("config"), row.get("train_scale")
    if not isinstance(config, str):
        return []
    return [f"{config}-{train_scale}"] if f"{config}-{train_scale}" in net_numbers else config.split(" + ")


def _is_number(column: "pd.Series[Any]") -> bool:
    def is_number(text: str) -> bool:
        return all(part.replace(".", "", 1).isdigit() for part in text.replace(",", "").split("–") if part)

    return all(is_number(str(cell)) for cell in column) and any(str(cell).strip("–") for cell in column)
