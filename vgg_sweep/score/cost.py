"""What scoring will cost."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from statistics import median

from vgg_sweep.config.schema import Config
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.views.crops import rescaled_size
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.runs.folder import find_runs

Size = tuple[int, int]
"""Width and height in pixels."""


def validation_set(config: Config) -> tuple[int, list[Size]]:
    """The number of classes and the sizes of the validation images, of which none is decoded or drawn."""
    if config.data.source == "fractals":
        spec = config.data.fractals
        return spec.num_classes, [(spec.side_px, spec.side_px)] * (spec.num_classes * spec.val_per_class)
    images = open_images(config)
    return config.classes or len(images.classes), [images.val.size_px(index) for index in range(len(images.val))]


def macs_per_second(sweep: Path) -> float | None:
    """The median speed of the scorings recorded in a sweep's folder; None if there is none."""
    speeds = [run.record().get("score_macs_per_second") for run in find_runs(sweep)]
    known = [float(speed) for speed in speeds if speed is not None]
    return median(known) if known else None


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
            return shapes.total() * each.views * of_one(config.crop, config.crop)
        total = 0
        for (width_px, height_px), count in shapes.items():
            width, height = rescaled_size(width_px, height_px, each.Q)
            total += count * of_one(height, width)
        return total

    return {each: of_pass(each) for each in wanted}
