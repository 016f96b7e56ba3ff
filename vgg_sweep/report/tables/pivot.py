"""`report --by`: any value by any settings, seeds averaged, as a table and as a figure.

Only seeds are averaged: anything else that differs between runs gets rows of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.config.options import choose_one
from vgg_sweep.config.roles import Role
from vgg_sweep.config.vocabulary import schema_fields
from vgg_sweep.errors import ConfigError, counted
from vgg_sweep.report.results.answers import in_words, most_common
from vgg_sweep.report.results.groups import SeedRows, mean_errors
from vgg_sweep.report.results.results import numbers_first
from vgg_sweep.report.tables.runs import changed, with_recipe
from vgg_sweep.report.tables.table import Table, as_text, interval, number, text

NAME = "pivot"

SORTS = ("model", "train_scale", "recipe", "seed", "method", "rule", "test_scales", "sweep")
"""What runs differ in beside settings."""

SORTABLE = list(dict.fromkeys([*SORTS, *(
    name for name, each in schema_fields().items() if each.rules.role in (Role.SETTING, Role.ARITHMETIC)
)]))  # fmt: skip
"""Whatever runs may differ in: these, and every setting."""


@dataclass(frozen=True)
class Value:
    title: str
    digits: int = 1
    factor: float = 1.0


VALUES = {
    "top1_error": Value("top-1 error (%)"),
    "top5_error": Value("top-5 error (%)"),
    "mean_class_recall": Value("mean class recall (%)"),
    "train_seconds": Value("training (minutes)", factor=1 / 60),
    "step_seconds": Value("a step (ms)", factor=1000),
    "peak_memory_bytes": Value("peak memory (MB)", 0, 1e-6),
    "params": Value("parameters (M)", 3, 1e-6),
}
"""What may be tabulated, by its column of the results."""


@dataclass(frozen=True)
class Pivot:
    """What was asked for: the names of rows, of columns, and of values."""

    by: Sequence[str]
    columns: Sequence[str] = ()
    values: Sequence[str] = ("top1_error",)


@dataclass(frozen=True)
class Cell:
    """The runs of one cell of the table, which differ only in their seeds."""

    key: Mapping[str, Any]
    """What tells it apart: the named, then the rest."""
    found: SeedRows


@dataclass(frozen=True)
class Cells:
    rows: list[str]
    columns: list[str]
    cells: list[Cell]
    under: str
    """The protocol, in words; empty if it is one of rows or columns."""
    left_out: int
    """Runs that are not scored under it."""


def cells(results: pd.DataFrame, pivot: Pivot) -> Cells:
    """The cells of the table with their runs. Raises `ConfigError` for a name that is nothing runs may differ in."""
    settings = changed(results)
    rows, columns = ([_known(name, settings) for name in names] for names in (pivot.by, pivot.columns))
    for value in pivot.values:
        if value not in VALUES:
            raise ConfigError(f"--values cannot be '{value}'; {choose_one(VALUES, value)}")
    nets = results[results["fusion"] == ""].rename(columns={"config": "model"})
    named, tests, under, num_runs = {*rows, *columns}, list[str](), "", nets["run_id"].nunique()
    if not named & {"method", "rule", "test_scales"}:
        rule, method = most_common(nets)
        nets = nets[(nets["rule"] == rule) & (nets["method"] == method)]
        under = in_words(rule, method)
    else:
        tests = ["method"] if "test_scales" in named else ["method", "rule"]
        nets = nets if "test_scales" in named else nets[nets["rule"] != "other"]
    said = with_recipe(nets) if "recipe" in named else set()
    for name in ("sweep", "model", "train_scale", *tests, *settings):
        if name not in named | said and nets[name].map(str).nunique() > 1:
            rows.append(name)
    names = [*rows, *columns]
    found: dict[tuple[Any, ...], list[Mapping[Any, Any]]] = {}
    for row in nets.to_dict("records"):
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    placed = [Cell(dict(zip(names, key, strict=True)), found[key]) for key in sorted(found, key=numbers_first)]
    return Cells(rows, columns, placed, under, num_runs - nets["run_id"].nunique())


def _known(name: str, settings: Sequence[str]) -> str:
    """The full name of what is meant: `lr` is `recipe.lr`."""
    fitting = [each for each in settings if each == name or each.endswith(f".{name}")]
    if name in SORTS or len(fitting) == 1:
        return name if name in SORTS else fitting[0]
    known = [*SORTS, *settings]
    if any(each == name or each.endswith(f".{name}") for each in SORTABLE):
        raise ConfigError(f"every run here has the default {name}; {choose_one(known)}")
    raise ConfigError(f"--by and --columns cannot be '{name}'; {choose_one(known, name)}")


def summary(found: SeedRows, value: str) -> dict[str, Any]:
    """A value over seeds, in the unit of its title: mean, standard deviation and, of an error, its 95 % interval over
    images; `seeds` each of them.
    """
    each = [row[value] * VALUES[value].factor for row in found if not pd.isna(row[value])]
    parts = {"mean": fmean(each) if each else math.nan, "std": stdev(each) if len(each) > 1 else math.nan}
    parts |= {"low": math.nan, "high": math.nan, "num_seeds": len(each), "seeds": tuple(each)}
    if each and value.endswith("_error"):
        name, errors = value.removesuffix("_error"), mean_errors(found)
        parts |= {"low": errors[f"{name}_low"], "high": errors[f"{name}_high"]}
    return parts


# --- as a table ---


def pivot_table(results: pd.DataFrame, pivot: Pivot) -> Table:
    """The requested table. Each cell has columns for its mean, `_std`, `_low`, `_high` and `_seeds`."""
    placed = cells(results, pivot)
    lines: dict[str, dict[str, Any]] = {}
    columns = {name: text(name, wrap=16) for name in placed.rows}
    for cell in placed.cells:
        row = {name: cell.key[name] for name in placed.rows}
        line = lines.setdefault(str(row), {"table": NAME} | row)
        across = ", ".join(as_text(cell.key[name]) for name in placed.columns)
        for value in pivot.values:
            words = [across, value if len(pivot.values) > 1 or not across else ""]
            name = " ".join(filter(None, words))
            parts = summary(cell.found, value)
            line |= {name: parts["mean"]} | {f"{name}_{part}": parts[part] for part in ("std", "low", "high")}
            line[f"{name}_seeds"] = parts["num_seeds"]
            head = "\n".join(filter(None, [across, VALUES[value].title if words[1] else ""]))
            columns[name] = number(name, head, VALUES[value].digits, sign=",", spread=f"{name}_std")
            if not math.isnan(parts["low"]):
                columns[f"{name} 95 %"] = interval(name, drop=1)
    frame = pd.DataFrame(lines.values())
    frame = frame.astype({name: "Int64" for name in frame if str(name).endswith("_seeds")})
    title = " and ".join(VALUES[value].title for value in pivot.values)
    title = f"{title[0].upper()}{title[1:]} by {' and '.join(placed.rows[: len(pivot.by)])}"
    title += f", across {' and '.join(placed.columns)}" if placed.columns else ""
    notes = _notes(placed, len(placed.rows) > len(pivot.by))
    return Table(NAME, title, lambda _: frame, list(columns.values()), notes, where=())


def _notes(placed: Cells, has_more: bool) -> list[str]:
    counts = sorted({len(cell.found) for cell in placed.cells})
    lines = [f"{' or '.join(map(str, counts))} seed{'' if counts == [1] else 's'} in each cell; 95 %: over images."]
    if counts[-1] > 1:
        lines[0] += " Mean ± standard deviation over seeds."
    if placed.under:
        lines.append(f"Under {placed.under}.")
    if has_more:
        lines.append("Only seeds are averaged; whatever else differs between runs has a column of its own.")
    if placed.left_out:
        lines.append(f"Left out, as not scored under this protocol: {counted(placed.left_out, 'run')}.")
    return lines
