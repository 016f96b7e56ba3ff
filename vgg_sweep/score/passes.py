"""What a protocol puts through the net: passes, each one view of every validation image (Sect. 3.2)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vgg_sweep.config import Config, parse_pass
from vgg_sweep.images.views import rescaled_size
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.report.protocols import BOTH, FLIPS
from vgg_sweep.store import RunFolder, read_json

VIEWS = {"dense": 1, "multi-crop": 25, "ten-crop": 5, "centre-crop": 1}
"""Views of an image in one pass, each of which goes through the net."""

NPY_HEADER_BYTES = 128
BYTES_PER_POSTERIOR = 4
"""Of float32, in which posteriors are stored."""


@dataclass(frozen=True, order=True)
class Pass:
    """One view of every image: what one file of posteriors holds."""

    method: str
    Q: int
    flip: bool

    @property
    def name(self) -> str:
        return f"{self.method}-Q{self.Q}-flip{int(self.flip)}"


def passes(config: Config) -> list[Pass]:
    """The passes that the configuration's protocol needs, each once."""
    parsed = (parse_pass(name, config.train_scale.S, config.crop) for name in config.protocol.passes)
    return sorted({each for method, scales_px in parsed for each in passes_of(method, scales_px)})


def passes_of(method: str, scales_px: Iterable[int]) -> list[Pass]:
    """The passes that `method`, or "multi-crop & dense", averages over the test scales."""
    methods = ("dense", "multi-crop") if method == BOTH else (method,)
    return [Pass(each, Q, flip) for Q in scales_px for each in methods for flip in FLIPS[each]]


def missing(folder: RunFolder, config: Config) -> list[Pass]:
    """The passes of the protocol that are not on disk yet, or no longer whole."""
    entries = read_json(folder.posteriors / "manifest.json").get("files", [])
    there = {Pass(entry["method"], entry["Q"], entry["flip"]) for entry in entries if _is_whole(folder, entry)}
    return [each for each in passes(config) if each not in there]


def _is_whole(folder: RunFolder, entry: Mapping[str, Any]) -> bool:
    file: Path = folder.posteriors / entry["file"]
    num_bytes: int = NPY_HEADER_BYTES + entry["N"] * entry["K"] * BYTES_PER_POSTERIOR
    return file.exists() and num_bytes == file.stat().st_size


def macs(
    wanted: Iterable[Pass], config: Config, num_classes: int, sizes_px: Iterable[tuple[int, int]]
) -> dict[Pass, int]:
    """Multiply-adds of each pass over images of the given (width, height), counted as in `nets.columns.macs`."""
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)

    @cache
    def of_one(height: int, width: int) -> int:
        return net_macs(layers, height, width, pool_ceil=config.pool_ceil)

    shapes = Counter(sizes_px)

    def of_pass(each: Pass) -> int:
        if each.method != "dense":
            return shapes.total() * VIEWS[each.method] * of_one(config.crop, config.crop)
        total = 0
        for (width_px, height_px), count in shapes.items():
            width, height = rescaled_size(width_px, height_px, each.Q)
            total += count * of_one(height, width)
        return total

    return {each: of_pass(each) for each in wanted}
