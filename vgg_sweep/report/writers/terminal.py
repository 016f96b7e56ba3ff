"""Tables, and the whole report, as text for a terminal."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from vgg_sweep.report.tables.table import TextColumn, TextTable

if TYPE_CHECKING:
    from vgg_sweep.report.tables.contents import Contents

WHOLE_WORD = 12
"""So long a word stays whole in a column that goes on in the next line, however narrow the terminal is."""
VERDICT_STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow", "missing": "dim"}


def show(report: "Contents", console: Console) -> None:
    """A report for the terminal."""
    for bundle in dict.fromkeys(sweep.bundle for sweep in report.sweeps if sweep.bundle):
        console.print(Text(f"Read from {bundle}."))
    for line in report.summary:
        console.print(Text(line))
    show_tables(report.tables, console)
    show_commands(report.commands, console)


def show_tables(tables: Sequence[TextTable], console: Console) -> None:
    """Each with its notes, a note once."""
    noted: set[str] = set()
    for table in tables:
        console.print()
        for line in table.above:
            console.print(Text(line, style="bold"))
        if table.more:
            console.print(Text("\n".join(table.more) + "\n"), soft_wrap=True)  # whole, to be copied
        console.print(to_rich(table, console.width))
        for note in table.notes:
            if note not in noted:
                console.print(Text(note, style="dim"))
        noted |= set(table.notes)
        if table.total:
            console.print(Text(f"{table.name.capitalize()}: {table.total}.", style="bold"))


def show_commands(commands: Sequence[str], console: Console) -> None:
    """Those that would fill missing rows."""
    if commands:
        console.print(Text("\nTo fill the missing rows:", style="bold"))
    for command in commands:
        console.print(Text(command), soft_wrap=True)  # whole, to be copied


def to_rich(table: TextTable, width: int) -> Group:
    """For a terminal of `width` characters."""
    laid_out = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    columns = fitting(table, width)
    longest = {max(map(len, [each.head, *each.cells])): each for each in reversed(columns) if each.wrap}
    widest = longest[max(longest)] if longest else None  # it wraps already, or most likely
    excess = max(0, _width(columns) - width)  # which one column takes, so that none is cut off
    for column in columns:
        word, most = column.longest_word or 0, column.wrap
        if column is widest:
            most = max(min(word, WHOLE_WORD), column.width - excess)
        justify: Literal["left", "right"] = "right" if column.is_number else "left"
        laid_out.add_column(
            Text(column.head),
            justify=justify,
            no_wrap=not column.wrap,
            min_width=min(word, most or 0),
            max_width=most,
            overflow="fold" if column.wrap else "ellipsis",
        )
    lines = list(zip(*(column.cells for column in columns), strict=True))
    for cells in [lines[row] for row in table.brief] or lines:
        laid_out.add_row(*(Text(cell, style=VERDICT_STYLES.get(cell, "")) for cell in cells))
    return Group(
        Text(table.title, style="bold"), laid_out, *(Text(line, style="dim") for line in _left_out(table, columns))
    )


def _left_out(table: TextTable, columns: Sequence[TextColumn]) -> Iterator[str]:
    """What of a table is not in a terminal, and how to see it."""
    if table.brief:
        yield f"The best row of each net; all {len(table.lines)}: --table {table.name}"
    heads, keys = [column.head for column in columns], [column.key for column in columns]
    narrow = [
        f"{column.head} of {before.head}" if column.head in heads else column.head
        for before, column in pairwise([*table.columns[:1], *table.columns])
        if column.key not in keys
    ]
    if narrow:
        yield f"Hidden at this width: {'; '.join(dict.fromkeys(narrow))}".replace("\n", " ")


def fitting(table: TextTable, width: int) -> list[TextColumn]:
    """The columns of `table` that fit `width` characters; the most important ones, if not all do."""
    columns = list(table.columns)
    while _width(columns) > width and any(column.drop for column in columns):
        columns.remove(max(columns, key=lambda column: column.drop))
    return columns


def _width(columns: Sequence[TextColumn]) -> int:
    return sum(column.width + 2 for column in columns) - 2
