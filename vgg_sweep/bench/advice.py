"""What follows from the figures: what holds a step up, which settings to take, how long the paper would last here."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from vgg_sweep.bench.timing import Row, bandwidth, peak_flops
from vgg_sweep.bench.train import PASSES_OF_A_STEP
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config
from vgg_sweep.machine.device import DTYPES, choose_device
from vgg_sweep.nets.columns import activation_bytes_training, net_macs, num_params, parse_columns
from vgg_sweep.plan.passes import passes
from vgg_sweep.plan.runs import plan
from vgg_sweep.protocols import paper
from vgg_sweep.protocols.methods import PAPER_CROP_PX
from vgg_sweep.score.cost import macs as pass_macs
from vgg_sweep.train.schedule import budget

ILSVRC_TRAIN, ILSVRC_VAL = 1_281_167, 50_000
ILSVRC_SIZE_PX = (500, 375)
"""Width and height of the most frequent ILSVRC image; the set's own are not at hand when this is asked."""

ACTIVATION_TOUCHES = 6
"""A step writes and reads each activation, reads it again in the backward pass, writes and reads its gradient, and
passes it through the ReLU.
"""
WEIGHT_TOUCHES = 8
"""A step reads each weight twice, writes and reads its gradient, and SGD reads and writes weight and velocity."""
WORTH_IT = 1.1
"""A gain worth a setting."""


def bottleneck(row: Row, config: Config, num_classes: int) -> str:
    """What a training step waits for: the larger of the least time for its arithmetic and for its memory traffic, or
    neither.
    """
    place, dtype = choose_device(config).place, DTYPES[row.precision]
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
    batch = row.batch or 1
    macs = batch * PASSES_OF_A_STEP * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
    activations = activation_bytes_training(layers, config.crop, pool_ceil=config.pool_ceil) * dtype.itemsize / 4
    weights = sum(num_params(layer) for layer in layers) * torch.float32.itemsize
    traffic = batch * activations * ACTIVATION_TOUCHES + weights * WEIGHT_TOUCHES
    shares = {
        "arithmetic": 2 * macs / peak_flops(place, dtype) / row.seconds,
        "memory traffic": traffic / bandwidth(place) / row.seconds,
    }
    said = f"at the machine's full rates, arithmetic is {shares['arithmetic']:.0%} of the time of a step and memory "
    said += f"traffic {shares['memory traffic']:.0%}"
    if max(shares.values()) < 0.4:
        return f"Neither: {said}; the rest is the overhead of small layers, so let runs share the machine (jobs=N)."
    name = max(shares, key=lambda each: shares[each])
    cure = "precision=bf16 where the hardware has it" if name == "arithmetic" else "a wider net uses it better"
    return f"{name[0].upper()}{name[1:]}: {said}; {cure}."


def advice(rows: Sequence[Row], config: Config) -> list[str]:
    """Settings to take on this machine, a sentence each."""
    said = []
    train = {row.what: row for row in rows if row.bench == "train"}
    if "ours, fastest" in train:
        own, fastest = train["ours"], train["ours, fastest"]
        gain = own.seconds / fastest.seconds
        settings = f"layout={fastest.layout} precision={fastest.precision} micro_batch={fastest.micro_batch}"
        settings += " compile=true" if fastest.compile else ""
        said.append(
            f"{settings} makes a step {gain:.2f} times as fast."
            if gain > WORTH_IT
            else "The layout, precision and micro-batch that a run takes here are as fast as any."
        )
    per_core = [row for row in rows if row.bench == "data" and row.what == "ours" and row.images_per_second_per_core]
    if per_core and "ours" in train:
        wanted, given = train["ours"].images_per_second or 0.0, per_core[0].images_per_second_per_core or 1.0
        said.append(
            f"The net takes {wanted:.1f} images/s and a core prepares {given:.0f}: workers={math.ceil(wanted / given)} "
            "keeps it busy."
        )
    return said


def paper_seconds(rows: Sequence[Row], config: Config) -> tuple[float, float] | None:
    """Seconds that the twelve runs of Table 3 would train and score on ILSVRC at the speeds measured, one after
    another; None if training or scoring was not measured, or not at the paper's size.
    """
    train = next((row for row in rows if (row.bench, row.what) == ("train", "ours")), None)
    score = next((row for row in rows if row.bench == "score" and row.what == "ours, dense"), None)
    is_papers_size = (config.crop, config.width) == (PAPER_CROP_PX, 1.0)
    if train is None or score is None or not is_papers_size:
        return None
    nets = [
        replace(
            config,
            model=load_option("model", row.net.config),
            train_scale=load_option("train_scale", row.net.train_scale),
        )
        for row in paper.rows("3")
    ]
    train_macs = score_macs = 0.0
    num_classes = config.classes or 1000
    for run in plan(nets):
        layers = parse_columns(run.config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
        images = budget(run, ILSVRC_TRAIN).num_steps * config.recipe.batch_size
        one = net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
        train_macs += PASSES_OF_A_STEP * images * one
        each_pass = pass_macs(passes(run.config), run.config, num_classes, [ILSVRC_SIZE_PX])
        score_macs += ILSVRC_VAL * sum(each_pass.values())
    return train_macs / _macs_per_second(train, config), score_macs / _macs_per_second(score, config)


def _macs_per_second(row: Row, config: Config) -> float:
    return (row.share_of_peak or 0.0) * peak_flops(choose_device(config).place, DTYPES[row.precision]) / 2
