"""A sweep's nets under each protocol, means over seeds, with their depth and what they cost."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.protocols.passes import passes_of
from vgg_sweep.report.contents import Sweep

NUM_FC = 3


def means(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each net or fusion under each protocol, with the errors' means over seeds and the medians of costs.

    `where` tells sweeps and settings apart, `weight_layers` is the depth, `macs` the multiply-adds of one square image
    under the protocol.
    """
    results = pd.concat([sweep.results for sweep in sweeps], ignore_index=True)
    keys = ["sweep", "settings", "members", "fusion", "rule", "method", "test_scales", "config", "train_scale"]
    same = {name: "first" for name in ("run_id", "n_images", "n_classes")}
    cost = {name: "median" for name in ("train_seconds", "peak_memory_bytes")}
    for name in cost:
        results[name] = pd.to_numeric(results[name])
    error = {"top1_error": "mean", "top5_error": "mean"}
    nets = results.groupby(keys, sort=False, dropna=False).agg({**error, **same, **cost}).reset_index()
    for name in ("top1", "top5"):
        pairs = [_interval(row, name) for row in rows_of(nets[[f"{name}_error", "n_images"]])]
        nets[f"{name}_low"], nets[f"{name}_high"] = zip(*pairs, strict=True)
    nets["where"] = told_apart(nets)
    runs = {run.folder.id: run for sweep in sweeps for run in sweep.runs}
    single = [(runs[row.run_id].config, row) if row.run_id in runs else None for row in rows_of(nets)]
    nets["weight_layers"] = [net and weight_layers(net[0]["model"]["columns"]) for net in single]
    nets["macs"] = [net and multiply_adds(*net) for net in single]
    return nets.astype({"weight_layers": float, "macs": float})


def _interval(row: Any, name: str) -> tuple[float, float]:
    error, num_images = row
    return wilson(error, num_images) if not math.isnan(error) else (math.nan, math.nan)


def told_apart(frame: pd.DataFrame) -> list[str]:
    """Sweep and settings of each row, as far as they differ within `frame`."""
    differing = [name for name in ("sweep", "settings") if frame[name].nunique() > 1]
    return [", ".join(filter(None, parts)) for parts in rows_of(frame[differing])]


def weight_layers(columns: Sequence[str]) -> int:
    """Depth as Table 1 counts it: convolutions and FC layers."""
    return NUM_FC + sum(word.startswith("conv") for word in columns)


def multiply_adds(config: Mapping[str, Any], row: Any) -> int:
    """Of classifying one square image with a net under the protocol of a row of results, flips and crops counted."""
    crop, columns = config["crop"], tuple(config["model"]["columns"])
    shape = (columns, config["width"], int(row.n_classes), crop, config["pool_ceil"])
    return sum(
        each.views * _macs(*shape, each.Q if each.method == "dense" else crop)
        for each in passes_of(row.method, row.test_scales)
    )


@cache
def _macs(columns: tuple[str, ...], width: float, num_classes: int, crop: int, pool_ceil: bool, side_px: int) -> int:
    layers = parse_columns(columns, width=width, classes=num_classes, crop=crop)
    return net_macs(layers, side_px, side_px, pool_ceil=pool_ceil)


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows, with the columns as attributes."""
    yield from frame.itertuples(index=False)
