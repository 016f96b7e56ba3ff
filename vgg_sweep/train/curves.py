"""metrics.csv, the learning curves: running means, a row every `log_every_steps` steps and at each validation."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgg_sweep.runs.files import write_text

COLUMNS = ("step", "epoch", "lr", "loss", "error", "val_error", "S_px", "images_per_second", "wait_share")
KEPT = 0.95
"""Of the running means at each step: they reach back about twenty steps."""
CHANCE_MARGIN = 0.02
"""A loss within this of ln(classes) has learnt nothing."""


@dataclass
class Window:
    """Running means over the last steps: `error` in percent, `S_px` of the images, and the share of the time that went
    into waiting for images.
    """

    loss: float = math.nan
    error: float = math.nan
    S_px: float = math.nan
    images_per_second: float = math.nan
    wait_share: float = math.nan

    def add(self, loss: float, error: float, S_px: float, num_images: int, wait_seconds: float, seconds: float) -> None:
        """Take in a step that took `seconds`, of which `wait_seconds` waiting for its images."""
        new = {
            "loss": loss,
            "error": error,
            "S_px": S_px,
            "images_per_second": num_images / seconds,
            "wait_share": wait_seconds / seconds,
        }
        for name, value in new.items():
            before = getattr(self, name)
            setattr(self, name, value if math.isnan(before) else KEPT * before + (1 - KEPT) * value)

    def is_at_chance(self, num_classes: int) -> bool:
        return num_classes > 1 and self.loss > math.log(num_classes) - CHANCE_MARGIN

    def row(self, step: int, epoch: float, lr: float, val_error: float | None) -> dict[str, float]:
        """What a row of metrics.csv holds, by `COLUMNS`; `val_error` only if it was just measured."""
        row = {"step": step, "epoch": round(epoch, 3), "lr": lr, "loss": self.loss, "error": self.error}
        if val_error is not None:
            row["val_error"] = val_error
        return row | {
            "S_px": self.S_px,
            "images_per_second": self.images_per_second,
            "wait_share": round(self.wait_share, 4),
        }


def append_row(path: Path, row: Mapping[str, float]) -> None:
    is_new = not path.exists()
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow({name: value if name == "step" else f"{value:.5g}" for name, value in row.items()})


def read_rows(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def begin_rows(path: Path, step: int, kept: str) -> None:
    """Leave the rows that a checkpoint has `kept`; of one of an earlier version, which kept none, those up to `step`
    that are whole.
    """
    if kept:
        write_text(path, kept)
    elif path.exists():
        rows = [line.split(",") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        whole = [row for row in rows if _is_whole(row) and int(row[0]) <= step]
        write_text(path, "".join(",".join(row) + "\n" for row in [list(COLUMNS), *whole]))


def _is_whole(row: Sequence[str]) -> bool:
    try:
        _ = [float(value) for value in row if value]
    except ValueError:
        return False
    return len(row) == len(COLUMNS) and row[0].isdigit()
