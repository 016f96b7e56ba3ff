"""`make bench-growth`: time and memory of a run against the number of images, of classes, and depth.

Each run is the real command, one after another, on fractals at the demo's size, scored dense at one scale. A line is
fitted through the times; `off the line` is how far the worst point lies from it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from vgg_sweep.config.options import load_option
from vgg_sweep.nets.columns import net_macs, parse_columns

CROP, WIDTH = 64, 1 / 16
NUM_CLASSES, IMAGES = 10, 500
"""Of the smallest run; a fifth as many to validate and score."""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        console = Console()
        for axis, points in AXES.items():
            rows = [(x, _run(Path(scratch), f"{axis}{number}", words)) for number, (x, words) in enumerate(points)]
            console.print(_table(axis, rows))


def _fractals(num_classes: int, num_images: int) -> list[str]:
    train, val = num_images // num_classes, max(1, num_images // num_classes // 5)
    return [f"data.fractals.num_classes={num_classes}", f"data.fractals.train_per_class={train}",
            f"data.fractals.val_per_class={val}"]  # fmt: skip


def _by_images() -> Iterator[tuple[float, list[str]]]:
    for factor in (1, 2, 4, 8):
        yield factor * IMAGES, ["model=A", *_fractals(NUM_CLASSES, factor * IMAGES)]


def _by_classes() -> Iterator[tuple[float, list[str]]]:
    for num_classes in (10, 100, 500, 1000):
        yield num_classes, ["model=A", *_fractals(num_classes, 5000)]


def _by_depth() -> Iterator[tuple[float, list[str]]]:
    for name in "ABCDE":
        layers = parse_columns(load_option("model", name).columns, width=WIDTH, classes=NUM_CLASSES, crop=CROP)
        million_macs = net_macs(layers, CROP, CROP, pool_ceil=False) / 1e6
        yield million_macs, [f"model={name}", "warm_start=none", *_fractals(NUM_CLASSES, 4 * IMAGES)]


AXES = {
    "training images": list(_by_images()),
    "classes, at 5000 images": list(_by_classes()),
    "million multiply-adds of nets A to E": list(_by_depth()),
}


def _run(scratch: Path, name: str, words: list[str]) -> dict[str, float]:
    out = scratch / name.replace(",", "").replace(" ", "_")
    common = ["data=fractals", "protocol=single", "recipe.epochs=2", "recipe.validate_epochs=2", "device=cpu",
              f"out={out}", f"cache={scratch / 'cache'}"]  # fmt: skip
    subprocess.run([sys.executable, "-m", "vgg_sweep", "train", *common, *words], check=True, capture_output=True)
    (record,) = out.glob("*/record.json")
    found: dict[str, float] = json.loads(record.read_text())
    return found


def _table(axis: str, rows: list[tuple[float, dict[str, float]]]) -> Table:
    table = Table(title=f"against {axis}", title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    for heading in (axis, "train s", "score s", "memory MB"):
        table.add_column(heading, justify="right")
    for x, record in rows:
        memory_mb = record["peak_memory_bytes"] / 1e6
        table.add_row(f"{x:g}", f"{record['train_seconds']:.1f}", f"{record['score_seconds']:.1f}", f"{memory_mb:.0f}")
    x_R = np.array([x for x, _ in rows])
    table.caption = "off the line: " + ", ".join(
        f"{key.split('_')[0]} {_off_the_line(x_R, np.array([record[key] for _, record in rows])):.0%}"
        for key in ("train_seconds", "score_seconds", "peak_memory_bytes")
    )
    return table


def _off_the_line(x_R: np.ndarray, y_R: np.ndarray) -> float:
    """The largest distance from the best line, as a share of the value."""
    return float(np.max(np.abs(np.polyval(np.polyfit(x_R, y_R, 1), x_R) - y_R) / y_R))


if __name__ == "__main__":
    main()
