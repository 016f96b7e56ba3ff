"""The results of a sweep in groups of one setting each, and what the seeds of a net come to. Errors in percent."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from vgg_sweep.protocols import paper
from vgg_sweep.protocols.metrics import wilson

Found = Sequence[Mapping[str, Any]]
"""The rows, one a seed, of a net or of a fusion under a protocol."""


@dataclass(frozen=True)
class Group:
    """The results of one sweep and one group of settings in it: only these are compared with one another."""

    rows: pd.DataFrame
    by_protocol: Mapping[tuple[str, ...], Found]
    """Members, rule, method and name of the fusion -> the rows. A Q of no rule of the paper is its own rule."""

    def find(self, members: Sequence[paper.Net], rule: str, method: str, fusion: str = "") -> Found:
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


def mean_errors(found: Found) -> dict[str, Any]:
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
