"""Tables for people and programs: the terminal, Markdown, CSV, JSON, Parquet, all from the same DataFrames."""

import io
import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from vgg_sweep.errors import ConfigError
from vgg_sweep.report.tables.layouts import Column, Shown

JSON_KEYS = (
    *("table", "config", "train_scale", "test_scales", "method", "seeds", "n_images"),
    *("top1_error", "top5_error", "paper_top1_error", "paper_top5_error"),
)
"""Every JSON row has at least these, null where they have no meaning."""

VERDICT_STYLES = {"supported": "green", "contradicted": "red", "undecided": "yellow", "missing": "dim"}


def fitting(table: Shown, width: int) -> list[Column]:
    """The columns of `table` that fit `width` characters; the most important ones, if not all do."""
    columns = list(table.columns)
    while sum(column.width + 2 for column in columns) - 2 > width and any(column.drop for column in columns):
        columns.remove(max(columns, key=lambda column: column.drop))
    return columns


def to_rich(table: Shown, width: int) -> Group:
    """For a terminal of `width` characters."""
    laid_out = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    columns = fitting(table, width)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.is_number else "left"
        laid_out.add_column(
            Text(column.heading),
            justify=justify,
            no_wrap=not column.wrap,
            max_width=column.wrap,
            overflow="fold" if column.wrap else "ellipsis",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        laid_out.add_row(*(Text(cell, style=VERDICT_STYLES.get(cell, "")) for cell in cells))
    return Group(Text(table.title, style="bold"), laid_out)


def to_markdown(table: Shown) -> str:
    """A heading, the table, and its notes."""
    lines = [
        [column.heading for column in table.columns],
        *zip(*(column.cells for column in table.columns), strict=True),
    ]
    rows = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    rule = "|" + "|".join("---:" if column.is_number else "---" for column in table.columns) + "|"
    return "\n\n".join([f"## {table.title}", "\n".join([rows[0], rule, *rows[1:]]), *table.notes]) + "\n"


def to_csv(frame: pd.DataFrame) -> str:
    """All columns of a DataFrame; lists of pixels with spaces between."""
    return frame.map(lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else value).to_csv(index=False)


def to_parquet(frame: pd.DataFrame) -> bytes:
    """All columns of a DataFrame, in their types. Raises `ConfigError` without pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError("--format parquet needs pyarrow: pip install 'vgg-sweep[parquet]'.") from error
    file = io.BytesIO()
    frame.to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


def to_json(frames: Sequence[pd.DataFrame]) -> str:
    """One list with the rows of all tables; null where a value is missing."""
    rows = [dict.fromkeys(JSON_KEYS) | _plain(row) for frame in frames for row in frame.to_dict("records")]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else _json_value(value) for key, value in row.items()}


def _json_value(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return round(value, 10) if isinstance(value, float) else value  # means carry noise in the last of 16 digits
