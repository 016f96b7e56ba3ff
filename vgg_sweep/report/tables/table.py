"""A table, described once: its columns with heads and formats, and its notes. Every writer works from this.

`Table` and `Column` describe, `TextTable` is the text that they make of some rows. Columns and notes are given as they
are, or as functions that find them in the rows. Needs no pandas, which takes half a second to import.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vgg_sweep.plan.commands import merged

if TYPE_CHECKING:
    import pandas as pd

DASH, UNFINISHED, NOTED = "–", "†", "‡"

Row = Mapping[str, Any]
"""The values of a row, by name; None where one is missing."""


@dataclass(frozen=True)
class Column:
    """How one column is shown, whatever the format."""

    key: str
    """What it is about: the value in a row, where it shows just one."""
    head: str
    cell: Callable[[Row], str]
    drop: int = 0
    """Columns with the highest number leave first where a terminal is narrow; 0 stays."""
    wrap: int | None = None
    """Characters after which a long cell goes on in the next line."""
    is_number: bool = False


@dataclass(frozen=True)
class TextColumn:
    head: str
    cells: list[str]
    key: str = ""
    drop: int = 0
    wrap: int | None = None
    is_number: bool = True

    @property
    def width(self) -> int:
        longest = max(len(line) for cell in [self.head, *self.cells] for line in cell.split("\n"))
        return min(longest, self.wrap) if self.wrap else longest

    @property
    def longest_word(self) -> int | None:
        """Characters below which a cell that wraps would break within a word; None where cells do not wrap."""
        words = [len(word) for cell in self.cells for word in cell.split()]
        return min(self.wrap, max(words, default=0)) if self.wrap else None


@dataclass(frozen=True)
class TextTable:
    """A table as text."""

    name: str
    title: str
    columns: list[TextColumn]
    notes: Sequence[str] = ()
    above: Sequence[str] = ()
    """What to know before reading it."""
    more: Sequence[str] = ()
    """The commands that what is above asks for."""
    commands: Sequence[str] = ()
    """What would fill the missing rows, row by row."""
    total: str = ""
    """What its rows come to, in a few words."""
    ends: tuple[str, str] | None = None
    """What lies at the ends of the scale of its differences, which the page draws."""
    brief: Sequence[int] = ()
    """The rows that stand for all where there is little room; none if all are to be shown."""

    @classmethod
    def of(cls, name: str, title: str, columns: Sequence[Column], rows: Sequence[Row], **about: Any) -> "TextTable":
        """The text of some rows; `about` is what else it holds."""
        shown = [
            TextColumn(each.head, [each.cell(row) for row in rows], each.key, each.drop, each.wrap, each.is_number)
            for each in columns
        ]
        return cls(name, title, shown, **about)

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The cells of each row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


_WHERE = {"sweep": "sweep", "settings": "settings", "other_sweep": "compared with", "other_settings": "with settings"}
"""Columns that a table has where they differ: keys and heads."""


Columns = Callable[["pd.DataFrame"], Iterable[Column]]
Lines = Callable[["pd.DataFrame"], Iterable[str]]
"""What rows give rise to."""


@dataclass(frozen=True)
class Table:
    """A table of the report: how its rows are found, and how they are shown."""

    name: str
    title: str
    make: Callable[[Any], "pd.DataFrame"]
    """The rows, with the columns that CSV and JSON have."""
    columns: Sequence["Column | Columns"]
    """What people see of these rows."""
    notes: Sequence["str | Lines"] = ()
    above: Sequence["str | Lines"] = ()
    total: Callable[["pd.DataFrame"], str] = lambda frame: ""
    lines: Callable[["pd.DataFrame"], "pd.DataFrame"] = lambda frame: frame
    """The rows as people see them, where they are others than those of CSV and JSON."""
    ends: tuple[str, str] | None = None
    where: Sequence[str] = tuple(_WHERE)
    """Which of the columns that say of what sweep and settings a row is it has where they differ."""
    brief: Callable[["pd.DataFrame"], Sequence[int]] = lambda frame: ()
    """The rows that stand for all in a terminal if the table is not asked for; none if all are shown."""
    visible: "Callable[[pd.DataFrame], pd.Series[bool]] | None" = None
    """Which rows of a group of settings are shown if the table is not asked for; all if not given."""
    of: Literal["runs", "results", "claims", "training", "boxes", "probes", "answers"] = "results"
    """What it is made from: the joined results of all sweeps, their probes, for claims both; or else the sweeps."""
    of_nets: bool = False
    """Whether it has a row for each net or fusion, which may wait for runs that are not scored."""
    if_asked: bool = False
    """Whether it is shown only if it is asked for."""

    def rendered(self, frame: "pd.DataFrame") -> TextTable:
        """The text of the rows in `frame`, with the sweep and settings of each where these differ."""
        frame = self.lines(frame)
        where = [_where(frame, key) for key in self.where if differs(frame, key)]
        return TextTable.of(
            self.name,
            self.title,
            [*where, *_resolved(self.columns, frame)],
            records(frame),
            notes=_resolved(self.notes, frame),
            above=_resolved(self.above, frame),
            more=merged(filter(None, frame["more_seeds"])) if "more_seeds" in frame else (),
            commands=list(frame["command"]) if "command" in frame else (),
            total=self.total(frame),
            ends=self.ends,
            brief=self.brief(frame),
        )


def _resolved(parts: Sequence[Any], frame: "pd.DataFrame") -> list[Any]:
    return [each for part in parts for each in (part(frame) if callable(part) else [part])]


def _where(frame: "pd.DataFrame", key: str) -> Column:
    """A column of `_WHERE`; sweeps that lie beside one another go by the names of their folders."""
    are_beside = key.endswith("sweep") and len({os.path.dirname(str(name)) for name in frame[key]}) == 1
    return Column(
        key, _WHERE[key], lambda row: os.path.basename(row[key]) if are_beside else as_text(row[key]), wrap=24
    )


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a DataFrame; None for all that pandas calls missing."""
    import pandas as pd

    columns = (frame[name].to_list() for name in frame)
    return [
        {str(name): None if pd.isna(value) else value for name, value in zip(frame, row, strict=True)}
        for row in zip(*columns, strict=True)
    ]


COUNTS = ("seeds", "other_seeds", "n_images", "other_n_images", "n_classes", "seeds_for_1_point")


def as_frame(table: str, rows: Iterable[Row]) -> "pd.DataFrame":
    """The rows of the table called `table`. Counts stay whole numbers where some are missing."""
    import pandas as pd

    frame = pd.DataFrame({"table": table} | dict(row) for row in rows)
    return frame.astype({name: "Int64" for name in COUNTS if name in frame})


def differs(frame: "pd.DataFrame", key: str) -> bool:
    """Whether the rows have several values of `key`."""
    return key in frame and frame[key].dropna().nunique() > 1


def unfinished(frame: "pd.DataFrame") -> list[str]:
    """The note on rows that some runs are missing from."""
    is_marked = "unfinished" in frame and bool((frame["unfinished"] != "").any())
    return [f"{UNFINISHED} Some runs of this row are not scored yet, so its errors may change."] * is_marked


# --- columns ---


def if_differs(column: Column) -> Columns:
    return lambda frame: [column] if differs(frame, column.key) else []


def if_any(column: Column) -> Columns:
    """A column that is left out where no row has a value."""
    return lambda frame: [column] if ((frame[column.key] != "") & frame[column.key].notna()).any() else []


def text(key: str, head: str = "", *, drop: int = 0, wrap: int | None = None) -> Column:
    return Column(key, head or key, lambda row: as_text(row.get(key)), drop, wrap)


def as_text(value: Any) -> str:
    """A value as text: a list with commas, a number in six digits, a dash for nothing."""
    if isinstance(value, tuple):
        return ", ".join(map(as_text, value)) or DASH
    if isinstance(value, float):
        return f"{value:g}"
    return DASH if value is None or value == "" else str(value)


def number(
    key: str, head: str, digits: int = 1, *, factor: float = 1, sign: str = "", spread: str = "", drop: int = 0
) -> Column:
    """`factor` takes a value to the unit of the head; `sign` is of the format specification: "+" or ","; `spread` is
    the name of its deviation, for rows that have one: 12.3 ± 0.4.
    """

    def cell(row: Row) -> str:
        parts = [row.get(key), row.get(spread)]
        return " ± ".join(f"{part * factor:{sign}.{digits}f}" for part in parts if part is not None) or DASH

    return Column(key, head, cell, drop, is_number=True)


def error(name: str, head: str) -> Column:
    """The error, its spread where there are several seeds, and marks where runs of the row are still to come, or were
    not made as most are.
    """
    of_row = number(f"{name}_error", head)

    def cell(row: Row) -> str:
        spread = row[f"{name}_std"]
        error = of_row.cell(row) + (UNFINISHED if row.get("unfinished") else "")
        error += NOTED if row.get("made_otherwise") and row[f"{name}_error"] is not None else ""
        return error if spread is None else f"{error} ± {spread:.1f}"

    return Column(of_row.key, head, cell, is_number=True)


def seeds(*keys: str, drop: int = 0) -> Column:
    """With how many seeds the nets of a row were trained, which every error of a trained net goes with."""

    def cell(row: Row) -> str:
        return " / ".join(str(row[key]) for key in keys) if row[keys[0]] else DASH

    return Column(keys[0], "seeds", cell, drop, is_number=True)


def interval(name: str, *, sign: str = "", drop: int = 0) -> Column:
    """The 95 % interval, `<name>_low` to `<name>_high`."""

    def cell(row: Row) -> str:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        return DASH if low is None else f"{low:{sign}.1f}{' to ' if sign else DASH}{high:{sign}.1f}"

    return Column(f"{name}_interval", "95 %", cell, drop, is_number=True)


def p_value(key: str, head: str, *, drop: int = 0) -> Column:
    def cell(row: Row) -> str:
        p = row[key]
        return DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"

    return Column(key, head, cell, drop, is_number=True)


def train_scale(key: str, head: str, *, drop: int = 0) -> Column:
    return Column(key, head, lambda row: scale_px(row[key]), drop)


def scale_px(S: tuple[int, int] | None) -> str:
    """S as the paper writes it: 256, or [256;512]."""
    return DASH if S is None else str(S[0]) if S[0] == S[1] else f"[{S[0]};{S[1]}]"
