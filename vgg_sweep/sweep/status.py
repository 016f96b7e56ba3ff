"""What a sweep is doing and did, read from the runs' folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vgg_sweep.plan import commands
from vgg_sweep.plan.configs import config_in
from vgg_sweep.plan.swept import differing_settings
from vgg_sweep.runs.folder import RunFolder, find_runs
from vgg_sweep.runs.logs import last_words
from vgg_sweep.sweep.agenda import FAILED

AT_WORK = ("running", "stopping", "elsewhere")


def read_sweep(sweep: Path) -> list[dict[str, Any]]:
    """The status of every run in the folder `sweep`, an object each: `sweep`, `run`, `recipe`, `settings` in which the
    runs differ, `state`, and what the run itself reports.

    States: new, running, interrupted, failed, diverged, done, or blocked by a parent that failed.
    """
    folders = find_runs(sweep)
    configs = [config_in(folder.config) for folder in folders]
    settings = differing_settings([commands.settings(config) for config in configs])
    recipes = [commands.flat(config).get("recipe.name", "") for config in configs]
    rows = {
        folder.id: {"sweep": str(sweep), "run": folder.id, "recipe": recipe, "settings": each}
        | {"state": "new", "parent": None, **reported_status(folder)}
        for folder, recipe, each in zip(folders, recipes, settings, strict=True)
    }
    for row in rows.values():
        row["state"] = _with_blocked(row, rows)
    return list(rows.values())


def reported_status(folder: RunFolder) -> dict[str, Any]:
    """What a run reports, its last job in a queue, the error of its last validation in percent, and its last words
    before it failed.
    """
    said = {**folder.status(), **({"job": folder.job} if folder.job else {})}
    if said.get("state") in FAILED:
        said["log"] = last_words(folder, str(said.get("error") or ""))
    if "val_error" not in said and folder.is_trained:  # runs made before it stood in their status
        said["val_error"] = folder.record().get("val_error")
    return said


def _with_blocked(row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    state: str = row["state"]
    if state != "new" or row["parent"] not in rows:
        return state
    return "blocked" if _with_blocked(rows[row["parent"]], rows) in (*FAILED, "blocked") else "new"


def share_done(row: Mapping[str, Any]) -> float:
    """How much of a run is done, from 0 to 1; training counts for all of it, since scoring takes little of the time."""
    if row["state"] == "done" or row.get("stage") == "score":
        return 1.0
    return row.get("step", 0) / row["num_steps"] if row.get("stage") == "train" and row.get("num_steps") else 0.0


def duration(seconds: float) -> str:
    """12 s, 5 min, 3 h 20 min, 4 days 2 h."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"
