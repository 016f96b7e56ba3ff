"""Figures drawn by matplotlib, for files (SVG, PDF) and for the page. The same marks give the same bytes."""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from vgg_sweep.report.figures.plots import Plot, plots
from vgg_sweep.report.tables.contents import Contents

INK, MUTED, GRID, GROUND = "#1c2126", "#5b646d", "#dfe3e7", "#ffffff"

SERIES = (
    ("#0072b2", "o", "-"),
    ("#d55e00", "s", "--"),
    ("#009e73", "^", "-."),
    ("#aa4499", "D", ":"),
    ("#8a6d00", "v", (0, (5, 1))),
    ("#56779b", "P", (0, (1, 1))),
)
"""Colour, mark and dash of each series: told apart without colour, and by every common kind of colour sense (the first
three are Okabe and Ito's).
"""

AXES_INCHES = (3.08, 1.8)
MARGINS_INCHES = (0.5, 0.12, 0.3, 0.44)
"""Left, right, top and bottom of the axes. Fixed, so that panels side by side have their axes at the same place."""
CATEGORY_INCHES = (1.75, 0.14)
"""More on the left where categories stand there, or at the bottom."""
CHARACTER_INCHES, LINE_INCHES = 0.075, 0.15
"""More at the bottom for each character of categories that stand upright; at the top for each line of a title."""
PANEL_CHARACTERS = 42
"""As many fit the width of a panel: a longer title goes on in the next line, and more categories stand upright."""
FILE_COLUMNS = 3
LEGEND_COLUMNS, LEGEND_ROW_INCHES = 2, 0.24

STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure is laid out alike everywhere
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": GROUND,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "figure.facecolor": GROUND,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a $ in a name is a $
    "pdf.fonttype": 42,
}


def figure_files(kind: str, report: Contents) -> dict[str, str | bytes]:
    """Each figure as `svg` or `pdf`, by file name."""
    return {
        f"{plot.name}.{kind}": saved(draw(plot, plot.panels), kind, plot) for plot in plots(report.sweeps, report.pivot)
    }


def saved(figure: Figure, kind: str, plot: Plot, panel: str = "") -> bytes:
    out = io.BytesIO()
    undated: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Title": plot.title},
        "pdf": {"CreationDate": None, "Producer": None},
    }
    with rc_context(STYLE | {"svg.hashsalt": plot.name + panel}):
        figure.savefig(out, format=kind, metadata={"Creator": None, **undated[kind]})
    return out.getvalue()


def draw(plot: Plot, panels: Sequence[str], has_legend: bool = True) -> Figure:
    """Some panels of a plot, side by side; the series look alike in all."""
    columns = 1 if plot.sideways else min(FILE_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    names = series(plot) if has_legend else []
    left, right, top, bottom = MARGINS_INCHES
    left += CATEGORY_INCHES[0] * plot.sideways
    top += LINE_INCHES * max(_title(panel).count("\n") for panel in plot.panels)
    bottom += _category_inches(plot)
    axes_width, axes_height = AXES_INCHES
    if plot.sideways:
        axes_height = 0.34 * plot.marks["x"].nunique()
    width, height = left + axes_width + right, bottom + axes_height + top
    legend_rows = math.ceil(len(names) / (LEGEND_COLUMNS * columns)) if len(names) > 1 else 0
    legend_height = LEGEND_ROW_INCHES * (legend_rows + bool(plot.series))
    with rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows + legend_height))
        for index, panel in enumerate(panels):
            x = width * (index % columns) + left
            y = height * (rows - 1 - index // columns) + bottom + legend_height
            all_x, all_y = figure.get_figwidth(), figure.get_figheight()
            place = (x / all_x, y / all_y, axes_width / all_x, axes_height / all_y)
            _draw_panel(figure.add_axes(place), plot, panel)
        if legend_rows:
            handles = [_handle(plot, index, name) for index, name in enumerate(names)]
            if plot.marks["paper"].notna().any():
                handles.append(Line2D([], [], color=MUTED, marker="o", markerfacecolor=GROUND, label="the paper's"))
            figure.legend(
                handles=handles,
                title=plot.series or None,
                title_fontsize=8,
                loc="lower center",
                ncols=LEGEND_COLUMNS * columns,
            )
    return figure


def series(plot: Plot) -> list[str]:
    """In the order in which they take their looks."""
    names = list(dict.fromkeys(plot.marks["series"]))
    return names if plot.sideways else sorted(names, key=list(paper_order(names)).index)


def paper_order(names: Sequence[str]) -> list[str]:
    """Train scales as the paper has them; other series as they come."""
    known = [name for name in ("256", "384", "jitter", "jitter-fc") if name in names]
    return [*known, *(name for name in names if name not in known)]


def look(index: int) -> tuple[str, str, Any]:
    return SERIES[index % len(SERIES)]


def _handle(plot: Plot, index: int, name: str) -> Line2D:
    colour, mark, dash = look(index)
    return Line2D([], [], color=colour, marker=mark, linestyle=dash if plot.joined else "", markersize=5, label=name)


def _draw_panel(axes: Axes, plot: Plot, panel: str) -> None:
    here = plot.marks[plot.marks["panel"] == panel]
    categories = list(dict.fromkeys(plot.marks["x"])) if plot.has_categories else []
    names = series(plot)
    for index, name in enumerate(names):
        marks = here[here["series"] == name]
        offset = (index - (len(names) - 1) / 2) * 0.12 if categories and not plot.sideways else 0.0
        places = [categories.index(x) + offset for x in marks["x"]] if categories else list(marks["x"])
        if plot.curves is not None:
            _draw_curve(axes, plot.curves, panel, name, index)
        _draw_marks(axes, plot, marks, places, index)
    axes.set_title(_title(panel))
    axes.set_xlabel(plot.y if plot.sideways else plot.x)
    axes.set_ylabel("" if plot.sideways else plot.y)
    _set_limits(axes, plot, here)
    if categories:
        _label_categories(axes, categories, plot)


def _title(panel: str) -> str:
    return textwrap.fill(panel, PANEL_CHARACTERS)


def _category_inches(plot: Plot) -> float:
    """How much categories take below an axis: two lines, or upright as much as the longest."""
    if not plot.has_categories or plot.sideways:
        return 0.0
    labels = list(dict.fromkeys(plot.marks["x"]))
    is_crowded = sum(len(label.split("\n")[0]) + 2 for label in labels) > PANEL_CHARACTERS
    return CHARACTER_INCHES * max(map(len, labels)) if is_crowded else CATEGORY_INCHES[1]


def _label_categories(axes: Axes, categories: Sequence[str], plot: Plot) -> None:
    """The lines of a label one by one, so that each is aligned whatever font shows it; upright in one line where there
    are many.
    """
    sideways, below = plot.sideways, _category_inches(plot)
    if below > CATEGORY_INCHES[1]:
        axes.set_xticks(range(len(categories)), [label.replace("\n", " ") for label in categories], rotation=90)
        axes.tick_params(axis="x", labelcolor=INK)
        axes.grid(False, axis="x")
        return
    firsts, seconds = zip(*(category.split("\n") for category in categories), strict=True)
    (axes.set_yticks if sideways else axes.set_xticks)(range(len(categories)), ["" for _ in categories])
    axes.grid(False, axis="y" if sideways else "x")
    for lines, offset in ((firsts, 0), (seconds, 1)):
        for index, line in enumerate(lines):
            style: dict[str, Any] = {"color": MUTED if offset else INK, "textcoords": "offset points", "va": "center"}
            if sideways:
                at, beside = (0, index), (-7, 5 - 10 * offset)
                axes.annotate(line, at, beside, xycoords=("axes fraction", "data"), ha="right", fontsize=7.5, **style)
            else:
                at, beside = (index, 0), (0, -10 - 10 * offset)
                axes.annotate(line, at, beside, xycoords=("data", "axes fraction"), ha="center", **style)
    if not sideways:
        axes.xaxis.labelpad = 22


def _draw_curve(axes: Axes, curves: pd.DataFrame, panel: str, name: str, index: int) -> None:
    line = curves[(curves["panel"] == panel) & (curves["series"] == name)]
    colour, _, dash = look(index)
    axes.plot(line["x"], line["y"], color=colour, linestyle=dash, linewidth=1.0, gid=f"line-{index}")


def _draw_marks(axes: Axes, plot: Plot, marks: pd.DataFrame, places: Sequence[float], index: int) -> None:
    """Marks, their intervals behind them, the paper's as hollow ones, and a dot for each seed of several."""
    colour, mark, dash = look(index)
    x, y = (marks["y"], places) if plot.sideways else (places, marks["y"])
    reach = [(marks["y"] - marks["low"]).clip(lower=0), (marks["high"] - marks["y"]).clip(lower=0)]
    if marks["low"].notna().any() and plot.joined or plot.sideways:
        bars: dict[str, Any] = {"xerr": reach} if plot.sideways else {"yerr": reach}
        axes.errorbar(x, y, **bars, fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.55)
    joined = marks["joins"].to_numpy(dtype=bool)
    xs, ys, papers = (np.asarray(each) for each in (x, y, marks["paper"]))
    if marks["paper"].notna().any():
        style: dict[str, Any] = {"color": colour, "linewidth": 0.7, "alpha": 0.6}
        if plot.joined:
            axes.plot(xs[joined], papers[joined], **style, linestyle=dash)
        shape: dict[str, Any] = {"linestyle": "", "markersize": 4.5, "marker": mark, "markerfacecolor": GROUND}
        axes.plot(xs, papers, **style, **shape, gid=f"paper-{index}")
    if plot.joined:
        axes.plot(xs[joined], ys[joined], color=colour, linestyle=dash, gid=f"line-{index}")
    axes.plot(xs, ys, color=colour, marker=mark, linestyle="", markersize=4.8, clip_on=False, gid=f"marks-{index}")
    dots = [
        (place, error)
        for place, errors in zip(places, marks["seeds"], strict=True)
        if len(errors) > 1
        for error in errors
    ]
    if dots:
        along, across = zip(*(dot[::-1] if plot.sideways else dot for dot in dots), strict=True)
        axes.plot(along, across, color=colour, marker=".", linestyle="", markersize=3, alpha=0.7, gid=f"seeds-{index}")
    for text, at_x, at_y in zip(marks["text"], x, y, strict=True):
        axes.annotate(text, (at_x, at_y), (5, 3), textcoords="offset points", fontsize=6.5, color=MUTED)


def _set_limits(axes: Axes, plot: Plot, here: pd.DataFrame) -> None:
    """Errors from 0; panels of the same quantity to the same height."""
    alike = here if plot.name == "depth" else plot.marks
    drawn = [alike[["y", "high", "paper"]].max().max(), plot.curves["y"].max() if plot.curves is not None else 0]
    top = max(*drawn, *(max(errors) for errors in alike["seeds"] if errors), 1)
    if plot.sideways:
        axes.set_xlim(0, top * 1.06)
        axes.set_ylim(plot.marks["x"].nunique() - 0.4, -0.6)
    else:
        axes.set_ylim(0, top * 1.06)
    if plot.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif not plot.has_categories:
        drawn_x = plot.marks["x"] if plot.curves is None else plot.curves["x"]
        margin = 0.06 * (drawn_x.max() - drawn_x.min()) or 1.0
        least = 0.0 if plot.x_from_zero else drawn_x.min() - margin
        axes.set_xlim(least, drawn_x.max() + (0.06 * drawn_x.max() if plot.x_from_zero else margin))
