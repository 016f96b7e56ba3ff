"""Tables for programs: CSV, JSON and Parquet, with all columns of the DataFrames."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from vgg_sweep.errors import ConfigError
from vgg_sweep.report.results.plain import plain
from vgg_sweep.report.tables.table import records

JSON_KEYS = (
    *("table", "config", "train_scale", "test_scales", "method", "seeds", "n_images"),
    *("top1_error", "top5_error", "paper_top1_error", "paper_top5_error"),
)
"""Every JSON row has at least these, null where they have no meaning."""


def to_csv(frame: pd.DataFrame) -> str:
    """All columns of a DataFrame; lists of pixels with spaces between."""
    return plain(frame).to_csv(index=False)


def to_parquet(frame: pd.DataFrame) -> bytes:
    """All columns of a DataFrame, in their types. Raises `ConfigError` without pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError("--format parquet needs pyarrow: pip install 'vgg-sweep[parquet]'.") from error
    file = io.BytesIO()
    plain(frame).to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


def to_json(frames: Sequence[pd.DataFrame]) -> str:
    """One list with the rows of all tables; null where a value is missing."""
    rows = [dict.fromkeys(JSON_KEYS) | _rounded(row) for frame in frames for row in records(plain(frame))]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Means carry noise in the last of 16 digits."""
    return {key: round(value, 10) if isinstance(value, float) else value for key, value in row.items()}
