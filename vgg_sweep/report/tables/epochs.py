"""`report --at`: runs that may be unfinished, compared at the same epoch, by the validations of training."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.swept import all_settings, differing_settings
from vgg_sweep.report.results.errors import ReportedRun
from vgg_sweep.report.results.unfinished import how_far
from vgg_sweep.report.tables.table import Table, number, text

COMMON = "common"
_EPSILON = 1e-6
"""Of an epoch, which is a rounded ratio of steps."""


def at_epoch(runs: Sequence[ReportedRun], at: str) -> Table:
    """The validation errors of `runs` at an epoch, a number or `common`: the last one that all have reached.

    Raises `ConfigError` if it is neither, `RunError` if no run has come so far.
    """
    curves = [(run, found) for run in runs if len(found := run.curve.dropna(subset="val_error"))]
    if not curves:
        raise RunError("no run has been validated yet; `vgg-sweep status` says what is going on.")
    epoch = min(found["epoch"].max() for _, found in curves) if at == COMMON else _number(at)
    reached = [
        (run, up_to.iloc[-1])
        for run, found in curves
        if run.curve["epoch"].max() >= epoch - _EPSILON and len(up_to := found[found["epoch"] <= epoch + _EPSILON])
    ]
    if not reached:
        raise RunError(f"no run has reached epoch {epoch:g}; --at {COMMON} takes the last epoch that all have reached.")
    settings = all_settings([run.settings for run, _ in reached])
    settings = [{name: tuple(v) if isinstance(v, list) else v for name, v in each.items()} for each in settings]
    rows = [_row(*each) | own for each, own in zip(reached, settings, strict=True)]
    frame = pd.DataFrame(rows).sort_values("val_error", kind="stable", ignore_index=True)
    differing = differing_settings([run.settings for run, _ in reached])
    columns = [
        text("run_id", "run"),
        *(text(name, wrap=16) for name in differing[0]),
        number("epoch", "epoch", 2),
        number("val_error", "validation (%)"),
        number("train_error", "training (%)", drop=2),
        text("state", wrap=24, drop=1),
    ]
    notes = [
        "Validation: top-1 error of a centre crop at the single test scale, as training measures it; training: a "
        "running mean over training views."
    ]
    if missing := [run.id for run in runs if run not in [there for there, _ in reached]]:
        notes.append(f"Not there yet: {', '.join(missing)}.")
    return Table("epoch", f"All runs at epoch {epoch:g}, best first", lambda _: frame, columns, notes)


def _number(at: str) -> float:
    try:
        return float(at)
    except ValueError:
        raise ConfigError(
            f"--at {at} is not an epoch; give a number, or {COMMON}: the last one that all runs have reached."
        ) from None


def _row(run: ReportedRun, validation: Any) -> dict[str, Any]:
    about = {"table": "epoch", "sweep": run.sweep, "run_id": run.id, "config": run.name}
    measured = {"epoch": validation["epoch"], "val_error": validation["val_error"], "train_error": validation["error"]}
    state = "scored" if run.is_scored else how_far(run.folder)
    return about | {"train_scale": run.train_scale, "seed": run.seed} | measured | {"state": state}
