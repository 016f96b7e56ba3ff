"""`multirun --smoke`: each run takes a few steps and scores a few images, in a folder that is thrown away."""

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from vgg_sweep.config.schema import Config
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json
from vgg_sweep.sweep.status import duration

FOLDER = ".smoke"
"""In the folder of the sweep."""
STEPS = 20


def smoke(config: Config) -> Config:
    """What is tried of `config`: a few steps of its training, on a sample of its images."""
    recipe = replace(config.recipe, max_steps=min(STEPS, config.recipe.max_steps))
    return replace(config, smoke=True, out=str(Path(config.out) / FOLDER), recipe=recipe)


def smoke_table(tried: Iterable[Run], whole: Iterable[Run]) -> Table:
    """What the runs that were `tried` measured, and how long the `whole` ones will train at that speed."""
    lines = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "state", "s a step", "whole run", "memory", "wait for data"):
        lines.add_column(name, justify="left" if name in ("run", "state") else "right", no_wrap=True)
    for run, full in zip(tried, whole, strict=True):
        record, status = run.folder.record(), run.folder.status()
        seconds = record.get("step_seconds")
        if seconds is None:
            lines.add_row(Text(full.id), str(status.get("state", "new")), "", "", "", "")
            continue
        wait = status.get("wait_share", 0.0)
        lines.add_row(
            Text(full.id),
            str(status.get("state")),
            f"{seconds / max(1 - wait, 0.01):.2f}",
            duration(_num_steps(full, run) * seconds / max(1 - wait, 0.01)),
            f"{record['peak_memory_bytes'] / 1e9:.1f} GB",
            f"{wait:.0%}",
        )
    return lines


def _num_steps(full: Run, tried: Run) -> int:
    """Of a whole run; how many images there are the tried one has noted."""
    recipe, fractals = full.config.recipe, full.config.data.fractals
    drawn = fractals.num_classes * fractals.train_per_class
    num_images = drawn if full.config.data.source == "fractals" else read_json(tried.folder.origin)["num_train"]
    return min(recipe.max_steps, math.ceil(full.epochs * math.ceil(num_images / recipe.batch_size)))


def throw_away(tried: Sequence[Run]) -> None:
    """Remove the folders of what was tried."""
    for folder in {run.folder.path.parent for run in tried}:
        if folder.name == FOLDER:
            shutil.rmtree(folder, ignore_errors=True)
