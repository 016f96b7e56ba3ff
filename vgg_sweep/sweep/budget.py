"""What training the runs of a plan takes, where nothing like them has been timed: in multiply-adds, and on machines."""

from collections.abc import Iterable

from vgg_sweep.config.schema import Config
from vgg_sweep.plan.runs import Run
from vgg_sweep.sweep.forecast import training_macs
from vgg_sweep.sweep.status import duration

IMAGES = {"imagenet": 1_281_167, "cifar10": 50_000, "cifar100": 50_000, "tiny-imagenet": 100_000, "stl10": 5_000}
"""Training images of published sets, which need not be there."""
FORWARD_AND_BACKWARD = 3
"""A backward pass takes twice as many multiply-adds as a forward pass: for the weights and for the input."""
TFLOPS = (1, 10, 100)
"""Speeds that a machine may reach in training, at two operations a multiply-add."""


def budget(runs: Iterable[Run]) -> list[str]:
    """A sentence for a plan, of those of its runs that are not trained; none if the size of a set is not known."""
    total = 0.0
    for run in runs:
        if not run.folder.is_trained and run.config.imported.sha256 is None:
            if (images := _num_images(run.config)) is None:
                return []
            total += FORWARD_AND_BACKWARD * images * training_macs(run)
    if not total:
        return []
    times = [duration(2 * total / (1e12 * speed)) for speed in TFLOPS]
    speeds = ", ".join(map(str, TFLOPS[:-1])) + f" or {TFLOPS[-1]}"
    return [f"Training takes {total:.1e} multiply-adds: at {speeds} TFLOP/s reached, {', '.join(times)}."]


def _num_images(config: Config) -> int | None:
    """Training images, as far as known without looking at the set."""
    data, share = config.data, config.data.val_share or 0.0
    if data.source == "fractals":
        return data.fractals.num_classes * data.fractals.train_per_class
    return round(IMAGES[data.source] * (1 - share)) if data.source in IMAGES else None
