"""Tables as the page has them: their text, with the nets of each row for the filter and, beside the numbers, a strip
that draws them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from vgg_sweep.report.figures.plots import Plot
from vgg_sweep.report.page.inline import numbers
from vgg_sweep.report.tables.table import Column, TextColumn, TextTable, interval, number, records, text

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
    """Where a difference of nothing lies, on the scale of a difference."""

    @property
    def width(self) -> float:
        return round(self.high - self.low, 2)


@dataclass(frozen=True)
class GridRow:
    cells: Sequence[str]
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


@dataclass(frozen=True)
class Grid:
    id: str
    title: str
    columns: list[Heading]
    rows: list[GridRow]
    notes: list[str] = field(default_factory=list)
    strip_ends: tuple[str, str] = ("", "")
    """What stands over the ends of the strips' scale."""
    is_sortable: bool = True
    is_folded: bool = False
    """Whether it shows when its title is chosen."""

    @property
    def strips(self) -> bool:
        return any(row.strip for row in self.rows)


_LAST = ("test_scales", "paper_S", "paper_test_scales", "other_test_scales")


def grid(table: TextTable, frame: pd.DataFrame, net_numbers: NetNumbers) -> Grid:
    """A table of the report: the text of the rows in `frame`, errors before the test scales: a phone shows the first
    columns.
    """
    ordered = sorted(table.columns, key=lambda column: column.key in _LAST)
    table = replace(table, columns=ordered)
    strips, strip_ends = _strips(table, frame)
    rows = [
        GridRow(cells, numbers(_nets_of(row, net_numbers), net_numbers), strip, bool(row.get("command")))
        for cells, row, strip in zip(table.lines, records(frame), strips, strict=True)
    ]
    return _bounded(table, f"table-{table.name}", rows, [*table.notes, *_strip_notes(strips)], strip_ends=strip_ends)


def plain_grid(table: TextTable, nets: Iterable[str] = (), *, is_sortable: bool = True) -> Grid:
    """Any other table, with the numbers of the nets that its rows are about, if they are about some."""
    lines = table.lines
    rows = [GridRow(cells, about) for cells, about in zip(lines, nets or [""] * len(lines), strict=True)]
    return _bounded(table, table.name, rows, list(table.notes), is_sortable=is_sortable)


def heat_grid(table: TextTable, net_numbers: NetNumbers) -> Grid:
    """One whose columns behind the second, which may be nets, have percentages and are coloured by them."""
    plain = plain_grid(table)
    heat = [replace(each, look="number heat", nets=numbers([each.heading], net_numbers)) for each in plain.columns[2:]]
    return replace(plain, columns=[*plain.columns[:2], *heat])


def _bounded(table: TextTable, id: str, rows: list[GridRow], notes: list[str], **about: Any) -> Grid:
    """With at most `MAX_ROWS` rows, and a note that says of how many."""
    if len(rows) > MAX_ROWS:
        notes = [f"The first {MAX_ROWS} of {len(rows):,} rows; report --format csv has all.", *notes]
    return Grid(id, table.title, list(map(_heading, table.columns)), rows[:MAX_ROWS], notes, **about)


def plot_grid(plot: Plot, net_numbers: NetNumbers) -> Grid:
    """The marks of a figure as a table."""
    points = plot.marks
    has_train = "train" in points
    columns = [text("panel")] if points["panel"].nunique() > 1 else []
    columns += [Column("nets", "nets", lambda row: " + ".join(row["nets"])), text("series", plot.series or "which")]
    if not plot.has_categories:
        columns.append(Column("x", plot.x, lambda row: f"{row['x']:,.4g}", is_number=True))
    else:
        head = "method" if plot.sideways else "weight layers"
        columns.append(Column("x", head, lambda row: row["x"].split("\n")[1], is_number=not plot.sideways))
    if has_train:
        columns.append(number("train", "training error (%)"))
    columns.append(number("y", "validation error (%)" if has_train else plot.y))
    if points["low"].notna().any():
        columns.append(interval("y"))
    if points["paper"].notna().any():
        columns.append(number("paper", "paper"))
    marks = [row | {"y_low": row["low"], "y_high": row["high"]} for row in records(points)]
    nets = [numbers(mark["nets"], net_numbers) for mark in marks]
    return plain_grid(TextTable.of(f"{plot.name}-data", plot.title, columns, marks), nets)


def difference_strips(frame: pd.DataFrame) -> list[Strip | None]:
    """Points and interval of each row on one scale with nothing in its middle."""
    reach = float(frame[["points_low", "points_high"]].abs().max().max())

    def place(points: float) -> float:
        return round(50 + 50 * points / reach, 2)

    return [
        None
        if row["points"] is None
        else Strip(place(row["points"]), place(row["points_low"]), place(row["points_high"]), zero=50)
        for row in records(frame[["points", "points_low", "points_high"]])
    ]


def _strips(table: TextTable, frame: pd.DataFrame) -> tuple[list[Strip | None], tuple[str, str]]:
    if table.ends:
        return difference_strips(frame), table.ends
    if "top1_low" not in frame or frame["top1_error"].isna().all():
        return [None] * len(frame), ("", "")
    drawn = [[row.get(name) for name in _DRAWN] for row in records(frame)]
    top = 10 * math.ceil(max(error for errors in drawn for error in errors if error is not None) / 10)

    def place(error: float | None) -> float | None:
        return None if error is None else round(100 * error / top, 2)

    strips = []
    for errors in drawn:
        at, low, high, theirs = map(place, errors)
        strips.append(None if at is None or low is None or high is None else Strip(at, low, high, theirs))
    return strips, ("0", f"{top} %")


_DRAWN = ("top1_error", "top1_low", "top1_high", "paper_top1_error")


def _strip_notes(strips: Sequence[Strip | None]) -> list[str]:
    if any(strip and strip.paper is not None for strip in strips):
        return ["On the scale: ● our top-1 error and its interval, ○ the paper's."]
    return []


def _heading(column: TextColumn) -> Heading:
    longest = max((len(cell) for cell in column.cells), default=0)
    looks = ["number"] if column.is_number else ["long"] if longest > LONG_CHARACTERS else []
    if column.head.startswith("paper"):
        looks.append("paper")
    return Heading(column.head, " ".join(looks))


def _nets_of(row: Mapping[str, Any], net_numbers: NetNumbers) -> list[str]:
    """The slugs of a row: of one net, or of those fused."""
    config, train_scale = row.get("config"), row.get("train_scale")
    if config is None:
        return []
    return [f"{config}-{train_scale}"] if f"{config}-{train_scale}" in net_numbers else config.split(" + ")
