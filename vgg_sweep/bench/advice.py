"""What follows from the figures: how many workers feed a net, and how long the paper would last here."""

import math
from collections.abc import Sequence
from dataclasses import replace

from vgg_sweep.bench.timing import Row, peak_flops
from vgg_sweep.bench.train import PASSES_OF_A_STEP
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.machine.device import DTYPES, choose_device
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import plan
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import PAPER_CROP_PX
from vgg_sweep.score.cost import macs as pass_macs
from vgg_sweep.sweep.status import duration
from vgg_sweep.train.schedule import budget

ILSVRC_TRAIN, ILSVRC_VAL = 1_281_167, 50_000
ILSVRC_SIZE_PX = (500, 375)
"""Width and height of the most frequent ILSVRC image; the set's own are not at hand when this is asked."""


def conclusions(rows: Sequence[Row], config: Config) -> list[str]:
    """A sentence each."""
    said = []
    train = next((row.images_per_second for row in rows if (row.bench, row.what) == ("train", "ours")), None)
    core = next((row.images_per_second_per_core for row in rows if (row.bench, row.what) == ("data", "ours")), None)
    if train and core:
        workers = math.ceil(train / core)
        said.append(
            f"The net takes {train:.1f} images/s and a core prepares {core:.0f}: workers={workers} keeps it busy."
        )
    if (times := paper_seconds(rows, config)) is not None:
        train_time, score_time = map(duration, times)
        said.append(
            f"The twelve runs of Table 3 on ILSVRC would train for {train_time} and score for {score_time} here, one "
            f"after another: from the speeds of {config.model.name} above and the multiply-adds of each net."
        )
    return said


def paper_seconds(rows: Sequence[Row], config: Config) -> tuple[float, float] | None:
    """Seconds that the twelve runs of Table 3 would train and score on ILSVRC at the speeds measured, one after
    another; None if training or scoring was not measured, or not at the paper's size.
    """
    place = choose_device(config).place
    rates = {
        (row.bench, row.what): (row.share_of_peak or 0.0) * peak_flops(place, DTYPES[row.precision]) / 2
        for row in reversed(rows)  # of several dense ones the first counts
        if row.what in ("ours", "ours, dense")
    }
    train_rate, score_rate = rates.get(("train", "ours")), rates.get(("score", "ours, dense"))
    if train_rate is None or score_rate is None or (config.crop, config.width) != (PAPER_CROP_PX, 1.0):
        return None
    train_macs = score_macs = 0.0
    num_classes = config.classes or 1000
    nets = [
        replace(config, model=load_option("model", net.config), train_scale=load_option("train_scale", net.train_scale))
        for net in (row.net for row in paper.rows("3"))
    ]
    for run in plan(nets):
        layers = parse_columns(run.config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
        images = budget(run, ILSVRC_TRAIN).num_steps * config.recipe.batch_size
        one = net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
        train_macs += PASSES_OF_A_STEP * images * one
        each_pass = pass_macs(passes(run.config), run.config, num_classes, [ILSVRC_SIZE_PX])
        score_macs += ILSVRC_VAL * sum(each_pass.values())
    return train_macs / train_rate, score_macs / score_rate
