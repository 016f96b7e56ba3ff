"""A sweep's nets under each protocol, means over seeds, with their depth and what they cost."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from statistics import median
from typing import Any

import pandas as pd

from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.protocols.passes import passes_of
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.groups import Found, by_settings, mean_errors
from vgg_sweep.report.results.results import Sweep, joined

_SHARED = ("members", "fusion", "rule", "method", "test_scales", "config", "train_scale", "run_id")


def means(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row for each net or fusion under each protocol, with the errors of each seed, their means, and the medians of
    costs.

    `where` tells sweeps and settings apart, `weight_layers` is the depth, `macs` the multiply-adds of one square image
    under the protocol.
    """
    results = joined(sweeps)
    runs = {(sweep.name, run.folder.id): run for sweep in sweeps for run in sweep.runs}
    rows = []
    for where, group in by_settings(results):
        for found in group.by_protocol.values():
            first = found[0]
            shared = {name: first[name] for name in _SHARED}
            costs = {name: _median(found, name) for name in ("train_seconds", "peak_memory_bytes")}
            size = _size(runs.get((where["sweep"], first["run_id"])), first)
            seeds = {f"{name}_seeds": tuple(row[f"{name}_error"] for row in found) for name in ("top1", "top5")}
            rows.append(where | shared | mean_errors(found) | seeds | costs | size)
    nets = pd.DataFrame(rows)
    return nets.assign(where=told_apart(nets))


def _median(found: Found, name: str) -> float:
    costs = [float(row[name]) for row in found if not pd.isna(row[name])]
    return median(costs) if costs else math.nan


def _size(run: ReportedRun | None, row: Mapping[str, Any]) -> dict[str, float]:
    """Depth and multiply-adds of a net under the protocol of a row; NaN for a fusion, which is no run."""
    if run is None:
        return {"weight_layers": math.nan, "macs": math.nan}
    return {
        "weight_layers": weight_layers(run.config["model"]["columns"]),
        "macs": multiply_adds(run.config, row["method"], row["test_scales"], row["n_classes"]),
    }


def told_apart(frame: pd.DataFrame) -> list[str]:
    """Sweep and settings of each row, as far as they differ within `frame`."""
    differing = [name for name in ("sweep", "settings") if frame[name].nunique() > 1]
    return [", ".join(filter(None, parts)) for parts in rows_of(frame[differing])]


def weight_layers(columns: Sequence[str]) -> int:
    """Depth as Table 1 counts it: convolutions and FC layers."""
    num_fc = 1 if "avgpool" in columns else 3
    return num_fc + sum(word.startswith("conv") for word in columns)


def multiply_adds(config: Mapping[str, Any], method: str, test_scales: Sequence[int], num_classes: int) -> int:
    """Of classifying one square image with a net under a protocol, flips and crops counted."""
    crop, columns = config["crop"], tuple(config["model"]["columns"])
    shape = (columns, config["width"], num_classes, crop, config["pool_ceil"])
    return sum(
        each.views * _macs(*shape, each.Q if each.method == "dense" else crop)
        for each in passes_of(method, test_scales)
    )


@cache
def _macs(columns: tuple[str, ...], width: float, num_classes: int, crop: int, pool_ceil: bool, side_px: int) -> int:
    layers = parse_columns(columns, width=width, classes=num_classes, crop=crop)
    return net_macs(layers, side_px, side_px, pool_ceil=pool_ceil)


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows, with the columns as attributes."""
    yield from frame.itertuples(index=False)
