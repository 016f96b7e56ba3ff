"""Every error seed by seed, which the other tables show the means of."""

from collections.abc import Sequence

import pandas as pd

from vgg_sweep.report.tables.table import Column, Table, differs, interval, number, scales, text

_KEPT = ("sweep", "settings", "config", "train_scale", "method", "test_scales", "fusion", "seed")
_ERRORS = tuple(f"{name}_{part}" for name in ("top1", "top5") for part in ("error", "low", "high"))


def by_seed(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each net or fusion, protocol of the paper and seed. Errors and intervals are in percent."""
    found = results.loc[results["rule"] != "other", [*_KEPT, *_ERRORS, "run_id"]]
    return found.sort_values(list(_KEPT), ignore_index=True).assign(table="seeds")


def _columns(frame: pd.DataFrame) -> Sequence[Column]:
    return [
        text("config", "nets", wrap=16),
        text("train_scale", "S", wrap=12),
        scales("test_scales", "Q", wrap=12),
        text("method", wrap=12),
        *([text("fusion", wrap=12, drop=3)] if differs(frame, "fusion") else []),
        number("seed", "seed", 0),
        number("top1_error", "top-1"),
        interval("top1", drop=1),
        number("top5_error", "top-5"),
        interval("top5", drop=2),
    ]


BY_SEED = Table("seeds", "Errors seed by seed", by_seed, _columns, lambda frame: ["95 %: over images."])
