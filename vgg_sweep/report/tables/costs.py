"""What local response normalisation costs in training (Sect. 4.1)."""

import math

import pandas as pd

from vgg_sweep.protocols import paper
from vgg_sweep.report.results.groups import Group
from vgg_sweep.report.tables.errors import Rows, missing_command, of_groups
from vgg_sweep.report.tables.gaps import all_or_none
from vgg_sweep.report.tables.table import Table, number, text

_MEASURES = ("step_seconds", "peak_memory_bytes")


@of_groups("lrn")
def lrn_cost(group: Group) -> Rows:
    """Time of a training step and peak memory of A and A-LRN (Sect. 4.1: "increased memory consumption and computation
    time"): 2 rows.

    Medians over seeds, and the ratio to A where both ran on the same device at the same precision.
    """
    of_A: tuple[str, dict[str, float]] | None = None
    for net in (paper.Net("A", "256"), paper.Net("A-LRN", "256")):
        runs = {row["run_id"]: row for row in group.find(members=net.slug, fusion="")}.values()
        machines = [f"{run['device_name']}, {run['precision']}" for run in runs if pd.notna(run["device_name"])]
        device = "; ".join(dict.fromkeys(machines))
        costs = {name: pd.Series([run[name] for run in runs], dtype=float).median() for name in _MEASURES}
        device_of_A, costs_of_A = of_A = of_A or (device, costs)
        is_alike = device == device_of_A
        ratios = {f"{name}_ratio": costs[name] / costs_of_A[name] if is_alike else math.nan for name in _MEASURES}
        names = {"config": net.config, "train_scale": net.train_scale, "seeds": len(runs), "device": device}
        command = "" if runs else missing_command(group, [net], "single")
        yield names | costs | ratios | {"command": command, "made_with": ()}


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
    visible=all_or_none,
)
