"""The results of a sweep in groups of equal settings, and summaries over seeds. Errors in percent."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.protocols.passes import passes_of
from vgg_sweep.report.results.results import Sweep, joined

SeedRows = Sequence[Mapping[Any, Any]]
"""The rows, one a seed, of a net or of a fusion under a protocol."""


@dataclass(frozen=True)
class Group:
    """The rows of one sweep and one group of settings in it: only within a group are nets compared."""

    where: Mapping[str, str]
    """Its sweep and its settings."""
    rows: SeedRows

    def find(self, **values: Any) -> SeedRows:
        """The rows that have these values."""
        return [row for row in self.rows if all(row[name] == value for name, value in values.items())]

    def of_nets(self, nets: Sequence[paper.Net], rule: str, method: str, fusion: str = "") -> SeedRows:
        """The rows of a net, or of several fused, under a protocol of the paper."""
        members = " + ".join(sorted(net.slug for net in nets))
        return self.find(members=members, rule=rule, method=method, fusion=fusion)

    def each(self) -> Iterable[SeedRows]:
        """The rows of every net and fusion under every protocol."""
        apart: dict[tuple[Any, ...], list[Mapping[Any, Any]]] = {}
        for row in self.rows:
            key = itemgetter("members", "rule", "method", "fusion", "test_scales")(row)
            apart.setdefault(key, []).append(row)
        return apart.values()


def by_settings(frame: pd.DataFrame) -> Iterator[Group]:
    """The groups of some sweeps' rows."""
    for (sweep, settings), rows in frame.groupby(["sweep", "settings"], sort=False) if len(frame) else ():
        yield Group({"sweep": str(sweep), "settings": str(settings)}, rows.to_dict("records"))


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
    runs = {(sweep.name, run.id): run for sweep in sweeps for run in sweep.runs}
    rows = []
    for group in by_settings(results):
        for found in group.each():
            first = found[0]
            values = mean_errors(found) | {name: first[name] for name in _SHARED}
            values |= {f"{name}_seeds": tuple(row[f"{name}_error"] for row in found) for name in ("top1", "top5")}
            values |= {name: pd.Series([row[name] for row in found], dtype=float).median() for name in _COSTS}
            values |= {"weight_layers": math.nan, "macs": math.nan}  # of a fusion, which is no run
            if run := runs.get((group.where["sweep"], first["run_id"])):
                values["weight_layers"] = weight_layers(run.config["model"]["columns"])
                values["macs"] = multiply_adds(run.config, first["method"], first["test_scales"], first["n_classes"])
            rows.append({**group.where, **values})
    nets = pd.DataFrame(rows)
    return nets.assign(where=distinguishing_labels(nets))


def distinguishing_labels(frame: pd.DataFrame) -> list[str]:
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
