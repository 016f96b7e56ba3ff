"""What local response normalisation costs in training (Sect. 4.1)."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from vgg_sweep.protocols import paper
from vgg_sweep.report.results.groups import Group
from vgg_sweep.report.tables.errors import frame_of, missing_command
from vgg_sweep.report.tables.gaps import whole
from vgg_sweep.report.tables.table import Table, number, text

_MEASURES = ("step_seconds", "peak_memory_bytes")


def lrn_cost(results: pd.DataFrame) -> pd.DataFrame:
    """Time of a training step and peak memory of A and A-LRN (Sect. 4.1: "increased memory consumption and computation
    time"): 2 rows.

    Medians over seeds, and the ratio to A where both ran on the same device at the same precision.
    """
    return frame_of("lrn", results, _rows)


def _rows(group: Group) -> Iterator[dict[str, Any]]:
    runs = {config: _runs(group, paper.Net(config, "256")) for config in ("A", "A-LRN")}
    costs = {
        config: {name: float(pd.to_numeric(found[name]).median()) for name in _MEASURES}
        for config, found in runs.items()
    }
    machines = {config: _machines(found) for config, found in runs.items()}
    for config, found in runs.items():
        alike = machines[config] == machines["A"]
        ratios = {f"{name}_ratio": costs[config][name] / costs["A"][name] if alike else math.nan for name in _MEASURES}
        command = "" if len(found) else missing_command(group, [paper.Net(config, "256")], "single")
        names = {"config": config, "train_scale": "256", "seeds": len(found), "device": machines[config]}
        yield names | costs[config] | ratios | {"command": command}


def _runs(group: Group, net: paper.Net) -> pd.DataFrame:
    """A net's runs, one row a seed, whatever their protocols."""
    return group.rows[(group.rows["members"] == net.slug) & (group.rows["fusion"] == "")].drop_duplicates("run_id")


def _machines(runs: pd.DataFrame) -> str:
    names = runs[["device_name", "precision"]].dropna().drop_duplicates()
    return ", ".join(f"{device} {precision}" for device, precision in names.itertuples(index=False))


LRN_COST = Table(
    "lrn",
    "Sect. 4.1. What local response normalisation costs in training",
    lrn_cost,
    (
        text("config"),
        number("step_seconds", "ms per step", factor=1000),
        number("step_seconds_ratio", "ratio to A", 2),
        number("peak_memory_bytes", "peak MB", 0, factor=1e-6),
        number("peak_memory_bytes_ratio", "ratio to A", 2),
        text("device", wrap=30),
    ),
    kept=whole,
)
