"""What is drawn: each figure as a DataFrame of its marks, from the results of a sweep. `figures.py` draws it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import BOTH
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.groups import distinguishing_labels, means, rows_of
from vgg_sweep.report.results.results import Sweep, joined
from vgg_sweep.report.tables.depth import EndedRun, trained
from vgg_sweep.report.tables.pivot import NAME, VALUES, Pivot, cells, summary
from vgg_sweep.report.tables.runs import settings_columns
from vgg_sweep.report.tables.table import as_text

MAX_PANELS = 12
"""A figure of a large sweep shows this many panels and says how many there would be."""

WIDE_RANGE = 10
"""Values whose largest is so many times the smallest stand on a logarithmic axis."""

MAX_LINE_POINTS = 200
"""A training curve is thinned to about this many marks."""


@dataclass(frozen=True)
class Plot:
    """A figure: small panels of marks in series, all errors in percent."""

    name: str
    """What its files are called."""
    title: str
    caption: str
    x: str
    """What the x axis shows, with its unit."""
    marks: pd.DataFrame
    """A row each mark: panel, series, x (a number or a category), y, low and high (95 %), paper (its y), text beside
    the mark, seeds (each y that y is the mean of), nets, the slugs of those it is about, and joins, whether the line of
    its series goes through it. What a plot has no use for is NaN or empty.
    """
    y: str = "top-1 error (%)"
    series: str = "train scale"
    """What the series are; empty where their names say it."""
    curves: pd.DataFrame | None = None
    """Lines without marks: panel, series, x, y."""
    joined: bool = True
    """Whether a line joins the marks of a series."""
    log_x: bool = False
    x_from_zero: bool = False
    """Whether the x axis begins at 0, so that costs that are nearly alike look so."""
    sideways: bool = False
    """Whether the categories stand on the y axis."""

    @property
    def panels(self) -> list[str]:
        return list(dict.fromkeys(self.marks["panel"]))

    @property
    def has_categories(self) -> bool:
        return all(isinstance(x, str) for x in self.marks["x"])


def plots(sweeps: Sequence[Sweep], pivot: Pivot | None = None) -> list[Plot]:
    """All figures that these sweeps have marks for, first what was asked for."""
    if joined(sweeps).empty:  # boxes or probes alone
        return []
    nets = means(sweeps)
    every = [
        *by_settings(joined(sweeps), pivot),
        error_by_depth(nets),
        error_by_test_scale(nets),
        fusion_gains(nets),
        *costs(nets),
        error_by_layers(sweeps),
        training_curves(sweeps),
    ]
    return [_bounded(plot) for plot in every if len(plot.marks)]


# --- the figures ---


def by_settings(results: pd.DataFrame, pivot: Pivot | None) -> list[Plot]:
    """What `report --by` asks for, a figure for each value; without it top-1 error by the first setting that was swept
    over, if one was.
    """
    if pivot is None:
        differing = settings_columns(results[results["fusion"] == ""])
        if not differing:
            return []
        pivot = Pivot([differing[0].key])
    placed = cells(results, pivot)
    x, *others = placed.rows
    series = [*placed.columns, *others]
    is_number = all(isinstance(cell.key[x], int | float) for cell in placed.cells)
    xs = [cell.key[x] for cell in placed.cells] if is_number else [0]
    under = f"{placed.under[0].upper()}{placed.under[1:]}. " if placed.under else ""
    drawn = []
    for value in pivot.values:
        marks = []
        for cell in placed.cells:
            parts = summary(cell.found, value)
            named = ", ".join(as_text(cell.key[name]) for name in series) or "all runs"
            at: dict[str, Any] = {"panel": "", "series": named}
            at |= {"x": cell.key[x] if is_number else f"{as_text(cell.key[x])}\n", "y": parts["mean"]}
            at["nets"] = tuple(dict.fromkeys(row["members"] for row in cell.found))
            marks.append(at | {name: parts[name] for name in ("low", "high", "seeds")})
        title = VALUES[value].title
        drawn.append(
            Plot(
                f"{NAME}-{value}" if len(pivot.values) > 1 else NAME,
                f"{title[0].upper()}{title[1:]} by {x}",
                f"{under}Mean over seeds, with a dot for each of several; 95 % intervals over images.",
                x,
                _as_frame(marks),
                y=title,
                series=", ".join(series),
                log_x=is_number and _is_wide(xs),
            )
        )
    return drawn


def error_by_depth(nets: pd.DataFrame) -> Plot:
    """Sect. 4.1: the twelve nets of Table 3, and any others, in the order of their depth."""
    found = _single_nets(nets).sort_values(["weight_layers", "config"], kind="stable")
    marks = []
    for name, top in (("top1", 0), ("top5", 1)):
        for row in rows_of(found[found[f"{name}_error"].notna()]):
            papers = paper.printed(row.config, row.train_scale, "single", "dense")[top]
            where = f"{row.where}: " if row.where else ""
            at = {"panel": f"{where}top-{name[3:]} error", "x": f"{row.config}\n{row.weight_layers:.0f}"}
            marks.append(_mark(row, name, **at, paper=papers, joins="-" not in row.config))
    return Plot(
        "depth",
        "Error against depth",
        "Dense evaluation at a single scale (Table 3). Nets are in the order of their number of weight layers, given "
        "under their names; lines leave out variants of a net, such as A-LRN. Filled marks: this sweep, with the "
        "95 % interval over images; hollow: the paper.",
        "net and weight layers",
        _as_frame(marks),
        y="error (%)",
    )


def error_by_test_scale(nets: pd.DataFrame) -> Plot:
    """Sect. 4.2: how the error of each net depends on the size of the test image."""
    found = nets[(nets["fusion"] == "") & (nets["method"] == "dense") & (nets["test_scales"].map(len) == 1)]
    found = found[found.groupby(["where", "members"])["rule"].transform("size") > 1]
    marks = [
        _mark(row, panel=f"{row.where}: {row.config}" if row.where else f"net {row.config}", x=row.test_scales[0])
        for row in rows_of(found)
    ]
    return Plot(
        "test-scale",
        "Error against test scale, for each training scale",
        "Dense evaluation, image and flip, at each test scale Q alone; what Table 4 averages. 95 % intervals over "
        "images.",
        "test scale Q (px)",
        _as_frame(marks),
    )


def fusion_gains(nets: pd.DataFrame) -> Plot:
    """Sect. 4.4: each fusion beside its members, under the same protocol."""
    marks = []
    alone = {(row.where, row.members, row.rule, row.method): row for row in rows_of(nets[nets["fusion"] == ""])}
    for fused in rows_of(nets[nets["fusion"] != ""]):
        members = fused.members.split(" + ")
        names = fused.members if len(members) <= 3 else f"{len(members)} nets, {fused.fusion}"
        kind = f"{fused.method}, {'one Q' if fused.rule == 'single' else 'three Q'}"
        x = f"{names}\n{kind}"
        for slug in members:
            row = alone.get((fused.where, slug, fused.rule, fused.method))
            if row is not None and row.n_images == fused.n_images:
                marks.append(_mark(row, x=x, series="one net"))
        marks.append(_mark(fused, x=x, series="fused", nets=tuple(members)))
    return Plot(
        "fusion",
        "What fusion gains",
        "Each fusion (Table 6, and requested ones) and its members alone under the same protocol. 95 % intervals over "
        "images.",
        "nets and method",
        _as_frame(marks),
        series="",
        joined=False,
        sideways=True,
    )


def costs(nets: pd.DataFrame) -> list[Plot]:
    """What a lower error costs: time and memory of training, and multiply-adds of testing."""
    found = _single_nets(nets)
    training = (
        ("cost-time", "Training time against error", "train_seconds", 1 / 60, "training (minutes)",
         "Of the run itself, without those that it started from; nets under dense evaluation at a single scale."),
        ("cost-memory", "Memory against error", "peak_memory_bytes", 1e-6, "peak memory in training (MB)",
         "Nets under dense evaluation at a single scale."),
    )  # fmt: skip
    drawn = []
    for name, title, column, factor, x, caption in training:
        there = rows_of(found[found[column].notna()])
        marks = [_mark(row, x=getattr(row, column) * factor, text=row.config) for row in there]
        drawn.append(Plot(name, title, caption, x, _as_frame(marks), joined=False, x_from_zero=True))
    kinds = {
        ("single", "dense"): "dense, one Q",
        ("multi", "dense"): "dense, three Q",
        ("multi", "multi-crop"): "multi-crop, three Q",
        ("multi", BOTH): "both, three Q",
    }
    marks = [
        _mark(row, x=row.macs * 1e-6, series=kind)
        for protocol, kind in kinds.items()
        for row in rows_of(nets[(nets["fusion"] == "") & nets["macs"].notna()])
        if (row.rule, row.method) == protocol
    ]
    caption = "Multiply-adds to classify one square image, its flip and all crops and scales counted; a mark per net."
    x, title = "multiply-adds per image (millions)", "Cost of testing against error"
    testing = Plot("cost-testing", title, caption, x, _as_frame(marks), series="protocol", joined=False,
                   log_x=_is_wide([mark["x"] for mark in marks]))  # fmt: skip
    return [*drawn, testing]


def training_curves(sweeps: Sequence[Sweep]) -> Plot:
    """metrics.csv of each net's first seed: training error as a line, validation error as marks."""
    marks, curves = [], []
    for panel, run in _first_seeds(sweeps)[: MAX_PANELS * 4]:
        if (metrics := run.curve).empty:
            continue
        at = {"panel": panel, "series": run.train_scale, "nets": (run.slug,)}
        for row in rows_of(metrics[metrics["val_error"].notna()]):
            marks.append(at | {"x": row.epoch, "y": row.val_error, "train": row.error})
        thinned = metrics.iloc[:: max(1, len(metrics) // MAX_LINE_POINTS)]
        curves.append(thinned[["epoch", "error"]].set_axis(["x", "y"], axis=1).assign(**at | {"nets": run.slug}))
    return Plot(
        "training",
        "Training curves",
        "Lines: error on training views, a running mean. Marks: validation error, by a centre crop at the single test "
        "scale. The first seed of each net; metrics.csv in its folder has every figure.",
        "epoch",
        _as_frame(marks),
        curves=pd.concat(curves, ignore_index=True) if curves else None,
        joined=False,
    )


def error_by_layers(sweeps: Sequence[Sweep]) -> Plot:
    """The figure of He et al. 2015: training and validation error over depth, a line for each way to train."""
    marks = []
    for sweep in sweeps:
        where = f"{sweep.name}: " if len(sweeps) > 1 else ""
        cells: dict[tuple[str, int], list[EndedRun]] = {}
        for each in sorted(trained(sweep.runs), key=lambda each: each.layers):
            cells.setdefault((each.treatment, each.layers), []).append(each)
        for panel, name in (("training", "train_error"), ("validation", "val_error")):
            for (treatment, layers), cell in cells.items():
                errors = tuple(float(getattr(each, name)) for each in cell)
                at = {"panel": panel, "series": where + treatment, "x": layers, "y": fmean(errors), "seeds": errors}
                marks.append(at | {"nets": tuple(dict.fromkeys(each.slug for each in cell))})
    return Plot(
        "degradation",
        "Training and validation error against depth",
        "Error at the end of training: on training views, a running mean, and on validation images by a centre crop. "
        "Mean over seeds, with a dot for each of several. Nets that stayed at chance are included; those that diverged "
        "are not.",
        "weight layers",
        _as_frame(marks),
        series="",
    )


def _first_seeds(sweeps: Sequence[Sweep]) -> list[tuple[str, ReportedRun]]:
    """The panel and the run of the lowest seed of each net, under each of the settings."""
    settings = pd.concat([sweep.results[["run_id", "settings"]] for sweep in sweeps]).drop_duplicates("run_id")
    of_run = dict(rows_of(settings))
    runs = pd.DataFrame(
        {"sweep": sweep.name, "settings": of_run.get(run.folder.id, ""), "slug": run.slug, "run": run}
        for sweep in sweeps
        for run in sorted(sweep.runs, key=lambda run: run.seed)
    )
    runs["where"] = distinguishing_labels(runs)
    first = runs.drop_duplicates(["where", "slug"])
    named = [
        (f"{where}: {run.name}" if where else f"net {run.name}", run)
        for where, run in zip(first["where"], first["run"], strict=True)
    ]
    return sorted(named, key=lambda pair: pair[0])


# --- what they share ---


def _single_nets(nets: pd.DataFrame) -> pd.DataFrame:
    """Under dense evaluation at a single scale."""
    return nets[(nets["fusion"] == "") & (nets["rule"] == "single") & (nets["method"] == "dense")]


def _is_wide(xs: Sequence[float]) -> bool:
    return bool(xs) and 0 < WIDE_RANGE * min(xs) <= max(xs)


def _mark(row: Any, name: str = "top1", **about: Any) -> dict[str, Any]:
    """The mark of a net's error, its series the train scale unless `about` says another."""
    parts = {"y": "error", "low": "low", "high": "high", "seeds": "seeds"}
    error = {key: getattr(row, f"{name}_{part}") for key, part in parts.items()}
    return {"panel": row.where, "series": row.train_scale, "nets": (row.members,)} | error | about


def _as_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    nothing: dict[str, Any] = dict.fromkeys(("low", "high", "paper"), math.nan)
    nothing |= {"text": "", "seeds": (), "joins": True}
    extra = ["train"] if any("train" in row for row in rows) else []
    columns = ["panel", "series", "x", "y", *nothing, "nets", *extra]
    numbers = dict.fromkeys(("y", "low", "high", "paper"), float)
    return pd.DataFrame([nothing | row for row in rows], columns=columns).astype(numbers)


def _bounded(plot: Plot) -> Plot:
    """With at most `MAX_PANELS` panels; the caption says of how many."""
    if len(plot.panels) <= MAX_PANELS:
        return plot
    kept = plot.panels[:MAX_PANELS]
    return replace(
        plot,
        caption=f"{plot.caption} The first {MAX_PANELS} of {len(plot.panels)} panels.",
        marks=plot.marks[plot.marks["panel"].isin(kept)],
        curves=plot.curves if plot.curves is None else plot.curves[plot.curves["panel"].isin(kept)],
    )
