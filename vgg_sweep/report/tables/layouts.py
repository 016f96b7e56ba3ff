"""What of a table people see: headings and cells of text, widths, notes. How it is laid out is for `render.py`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pandas as pd

from vgg_sweep.report.tables.notes import DASH, UNFINISHED, notes, scale_px, spans_columns

MAX_NAME = 16
"""Characters of a sweep's name above a column."""

Row = Mapping[Any, Any]
Cell = Callable[[Row], str]


@dataclass(frozen=True)
class Column:
    heading: str
    cells: list[str]
    drop: int = 0
    """Columns with the highest number leave first where a terminal is narrow; 0 stays."""
    wrap: int | None = None
    """Characters after which a long cell goes on in the next line."""
    is_number: bool = True

    @property
    def width(self) -> int:
        longest = max(len(line) for cell in [self.heading, *self.cells] for line in cell.split("\n"))
        return min(longest, self.wrap) if self.wrap else longest


ColumnOf = Callable[[Sequence[Row]], Column]
"""A column of the rows of a table."""


@dataclass(frozen=True)
class Shown:
    """A table as text."""

    name: str
    title: str
    columns: list[Column]
    notes: list[str]
    commands: list[str]
    """What would fill the dashes, row by row."""


def shown(name: str, title: str, frame: pd.DataFrame) -> Shown:
    """The cells, notes and commands of one table."""
    keys = ("sweep", "settings", "other_sweep", "other_settings")
    headings = {"other_sweep": "compared with", "other_settings": "of settings"}
    where = [_column(headings.get(key, key), _text(key), wrap=24) for key in keys if _differs(frame, key)]
    rows = frame.to_dict("records")
    columns = [column(rows) for column in (*where, *_LAYOUTS.get(name, _errors_layout)(frame))]
    return Shown(name, title, columns, notes(name, frame), list(frame["command"]) if "command" in frame else [])


# --- cells ---


def _number(key: str, digits: int = 1, factor: float = 1.0, sign: str = "") -> Cell:
    def cell(row: Row) -> str:
        value = row.get(key)
        return DASH if value is None or pd.isna(value) else f"{value * factor:{sign}.{digits}f}"

    return cell


def _text(key: str) -> Cell:
    def cell(row: Row) -> str:
        value = row.get(key)
        return DASH if not isinstance(value, str) or not value else value

    return cell


def _error(name: str) -> Cell:
    """The error, its spread where there are several seeds, and a mark where runs of the row are still to come."""

    def cell(row: Row) -> str:
        spread = row[f"{name}_std"]
        error = _number(f"{name}_error")(row) + (UNFINISHED if row.get("unfinished") else "")
        return error if pd.isna(spread) else f"{error} ± {spread:.1f}"

    return cell


def _interval(name: str, sign: str = "") -> Cell:
    def cell(row: Row) -> str:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        to = " to " if sign else "–"
        return DASH if pd.isna(low) else f"{low:{sign}.1f}{to}{high:{sign}.1f}"

    return cell


def _scales(key: str) -> Cell:
    return lambda row: ", ".join(map(str, row[key])) if isinstance(row[key], tuple) else DASH


def _p(key: str) -> Cell:
    def cell(row: Row) -> str:
        p = row[key]
        return DASH if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"

    return cell


def _column(heading: str, cell: Cell, *, drop: int = 0, wrap: int | None = None, is_number: bool = False) -> ColumnOf:
    return lambda rows: Column(heading, [cell(row) for row in rows], drop, wrap, is_number)


def _differs(frame: pd.DataFrame, key: str) -> bool:
    return key in frame and frame[key].dropna().nunique() > 1


# --- layouts: the columns of each table ---


def _errors(frame: pd.DataFrame) -> list[ColumnOf]:
    """Ours and the paper's errors, with intervals where there is room."""
    columns = []
    for name, heading, drop in (("top1", "top-1", 3), ("top5", "top-5", 4)):
        columns += [
            _column(heading, _error(name), is_number=True),
            _column("95 %", _interval(name), drop=drop, is_number=True),
        ]
        if frame[f"paper_{name}_error"].notna().any():
            columns.append(_column("paper", _number(f"paper_{name}_error"), is_number=True))
    counts = [("seeds", "seeds"), ("n_images", "images")]
    return columns + [
        _column(heading, _number(key, 0), drop=1, is_number=True)
        for key, heading in counts
        if frame.loc[frame["seeds"] > 0, key].nunique() > 1 or (key == "seeds" and (frame[key] > 1).any())
    ]


def _errors_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    columns = [_column("config", _text("config"))]
    if "S" in frame:
        columns.append(_column("S", lambda row: scale_px(row["S"])))
    columns.append(_column("Q", _scales("test_scales")))
    if "paper_S" in frame and not frame["S"].equals(frame["paper_S"]):
        columns.append(_column("paper's S", lambda row: scale_px(row["paper_S"]), drop=5))
        columns.append(_column("paper's Q", _scales("paper_test_scales"), drop=5))
    if _differs(frame, "method"):
        columns.append(_column("method", _text("method")))
    return columns + _errors(frame)


def _table6_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    nets = _column("nets", _text("config"), wrap=24)
    columns = [
        _column("group", _text("group"), wrap=15, drop=2),
        nets,
        _column("method", _text("method"), wrap=18),
    ]
    return columns + _errors(frame)


def _fusion_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    name = _column("fusion", _text("fusion"), wrap=24)
    nets = _column("nets", _text("config"), wrap=24, drop=2)
    scales = _column("Q", _scales("test_scales"), wrap=12, drop=1)
    return [name, nets, _column("method", _text("method"), wrap=18), scales, *_errors(frame)]


def _table7_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    def starred(key: str) -> Cell:
        return lambda row: _number(key)(row) + ("*" if spans_columns(row) and not pd.isna(row[key]) else "")

    return [
        _column("system", _text("system"), wrap=44),
        _column("ours\ntop-1", _error("top1"), is_number=True),
        _column("ours\ntop-5", _error("top5"), is_number=True),
        _column("paper\ntop-1", _number("paper_top1_error"), is_number=True),
        _column("paper\ntop-5", starred("paper_top5_error"), is_number=True),
        _column("test\ntop-5", starred("paper_top5_test_error"), is_number=True),
    ]


def _5x5_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    more = _column("points over B", _number("points_over_B", sign="+"), is_number=True)
    paper = _column("paper", _number("paper_points_over_B", sign="+"), is_number=True)
    return [*_errors_layout(frame), more, paper]


def _lrn_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    return [
        _column("config", _text("config")),
        _column("ms a step", _number("step_seconds", factor=1000), is_number=True),
        _column("of A's", _number("step_seconds_ratio", 2), is_number=True),
        _column("peak MB", _number("peak_memory_bytes", 0, factor=1e-6), is_number=True),
        _column("of A's", _number("peak_memory_bytes_ratio", 2), is_number=True),
        _column("device", _text("device"), wrap=30),
    ]


def _claims_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    def as_claimed(row: Row) -> str:
        some = "*" if row["pairs"] != row["num_pairs"] else ""
        return f"{row['pairs_as_claimed']} of {row['pairs']}{some}" if row["pairs"] else DASH

    def these_nets(row: Row) -> str:
        return f"{row['direction']}, {_p('p_images')(row)}" if row["seeds"] else DASH

    return [
        _column("claim", _text("claim"), wrap=30),
        _column("Sect.", _text("section"), drop=6),
        _column("compared", _text("compared"), wrap=24, drop=5),
        _column("pairs", as_claimed, drop=1),
        _column("points", _number("points", sign="+"), is_number=True),
        _column("95 %", _interval("points", "+"), is_number=True),
        *([_column("± seeds", _number("points_std"), is_number=True, drop=4)] if (frame["seeds"] > 1).any() else []),
        _column("these nets, p", these_nets, drop=2),
        _column("p", _p("p"), is_number=True, drop=3),
        _column("Holm", _p("p_holm"), is_number=True, drop=3),
        _column("verdict", _text("verdict"), wrap=14),
    ]


def _deviations_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    return [_column(heading, _text(heading), wrap=40) for heading in ("setting", "paper", "here")]


def _differences_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    keys = ("setting", "value", "other_value")
    headings = ("setting", *_two_names(frame))
    return [_column(heading, _text(key), wrap=30) for key, heading in zip(keys, headings, strict=True)]


def _two_names(frame: pd.DataFrame) -> list[str]:
    """What two sweeps are called above their columns: as much of the ends of their paths as tells them apart."""
    if _differs(frame, "other_sweep"):
        return ["the first", "the other"]
    paths = [PurePath(str(frame[key].iloc[0])).parts for key in ("sweep", "other_sweep")]
    num_parts = next((num for num in range(1, 1 + max(map(len, paths))) if paths[0][-num:] != paths[1][-num:]), 1)
    names = [str(PurePath(*parts[-num_parts:])) for parts in paths]
    ends = [name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}" for name in names]
    return ends if len(set(ends)) == 2 else names


def _comparison_layout(frame: pd.DataFrame) -> list[ColumnOf]:
    names = _two_names(frame)

    def net(row: Row) -> str:
        return row["config"] if pd.isna(row["train_scale"]) else f"{row['config']}-{row['train_scale']}"

    return [
        _column("net", net, wrap=14),
        _column("Q", lambda row: "multiple" if row["rule"] == "multi" else "single"),
        _column("method", _text("method"), wrap=12),
        *(
            _column(f"{name}\n{top}", _number(f"{prefix}{key}_error"), is_number=True, drop=drop)
            for key, top, drop in (("top1", "top-1", 0), ("top5", "top-5", 4))
            for prefix, name in zip(("", "other_"), names, strict=True)
        ),
        _column("points", _number("points", sign="+"), is_number=True),
        _column("95 %", _interval("points", "+"), is_number=True),
        _column("p, these nets", _p("p_images"), is_number=True, drop=3),
        _column("test", _text("test"), drop=3),
        _column("p", _p("p"), is_number=True, drop=2),
        _column("Holm", _p("p_holm"), is_number=True, drop=2),
    ]


_LAYOUTS: dict[str, Callable[[pd.DataFrame], list[ColumnOf]]] = {
    "6": _table6_layout,
    "7": _table7_layout,
    "5x5": _5x5_layout,
    "lrn": _lrn_layout,
    "claims": _claims_layout,
    "fusion": _fusion_layout,
    "deviations": _deviations_layout,
    "differences": _differences_layout,
    "comparison": _comparison_layout,
}
