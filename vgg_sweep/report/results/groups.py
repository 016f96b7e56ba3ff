"""The results of a sweep in groups of one setting each, and what the seeds of a net come to. Errors in percent."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.protocols.passes import passes_of
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.results import Sweep, joined

SeedRows = Sequence[Mapping[str, Any]]
"""The rows, one a seed, of a net or of a fusion under a protocol."""


@dataclass(frozen=True)
class Group:
    """The results of one sweep and one group of settings in it: only these are compared with one another."""

    rows: pd.DataFrame
    by_protocol: Mapping[tuple[str, ...], SeedRows]
    """Members, rule, method and name of the fusion -> the rows. A Q of no rule of the paper is its own rule."""

    def find(self, members: Sequence[paper.Net], rule: str, method: str, fusion: str = "") -> SeedRows:
        return self.by_protocol.get((" + ".join(sorted(net.slug for net in members)), rule, method, fusion), [])


def by_settings(results: pd.DataFrame) -> Iterator[tuple[dict[str, str], Group]]:
    """The groups of some results, each with its sweep and settings."""
    names = list(map(str, results.columns))
    for (sweep, settings), rows in results.groupby(["sweep", "settings"], sort=False):
        by_protocol: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        for values in zip(*(rows[name].to_list() for name in names), strict=True):
            row = dict(zip(names, values, strict=True))
            rule = f"Q = {row['test_scales']}" if row["rule"] == "other" else row["rule"]
            by_protocol.setdefault((row["members"], rule, row["method"], row["fusion"]), []).append(row)
        yield {"sweep": str(sweep), "settings": str(settings)}, Group(rows, by_protocol)


@cache
def always_fused() -> frozenset[str]:
    """What the fusions of Table 6 are called, which nobody need ask for."""
    return frozenset(row.group for row in paper.fusions())


def mean_errors(found: SeedRows) -> dict[str, Any]:
    """How many seeds and images, and the errors over seeds, top-1 and top-5."""
    num_images = found[0]["n_images"]
    values: dict[str, Any] = {"seeds": len(found), "n_images": num_images, "n_classes": found[0]["n_classes"]}
    for name in ("top1", "top5"):
        values |= over_seeds(name, [row[f"{name}_error"] for row in found], num_images)
    return values


def over_seeds(name: str, errors: Sequence[float] = (), num_images: int = 0) -> dict[str, float]:
    """The mean error, its 95 % interval over images, and its spread over seeds; NaN for what there is not."""
    error, spread = fmean(errors) if errors else math.nan, stdev(errors) if len(errors) > 1 else math.nan
    low, high = wilson(error, num_images) if not math.isnan(error) else (math.nan, math.nan)
    return {f"{name}_error": error, f"{name}_low": low, f"{name}_high": high, f"{name}_std": spread}


# --- all nets, with what they cost ---


_SHARED = ("members", "fusion", "rule", "method", "test_scales", "config", "train_scale", "run_id")

_COSTS = ("train_seconds", "peak_memory_bytes")


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
            costs = {name: pd.Series([row[name] for row in found], dtype=float).median() for name in _COSTS}
            size = _size(runs.get((where["sweep"], first["run_id"])), first)
            seeds = {f"{name}_seeds": tuple(row[f"{name}_error"] for row in found) for name in ("top1", "top5")}
            rows.append(where | shared | mean_errors(found) | seeds | costs | size)
    nets = pd.DataFrame(rows)
    return nets.assign(where=told_apart(nets))


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
