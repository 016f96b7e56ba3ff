"""`make bench-settings`: does any setting train faster than what the program takes by default?

A first look at each combination of layout, precision and micro-batch (and compile on a GPU); then the default, the
fastest and torchvision's step take turns. Also what a step waits for.
    python -m tests.bench.settings model=D
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from rich.console import Console

from tests.bench.bottleneck import bottleneck
from tests.bench.plain import BATCH, COLUMNS, plain_step
from vgg_sweep.bench.bench import PAPER_CLASSES, table
from vgg_sweep.bench.measures import own_step, train_row
from vgg_sweep.bench.timing import THOROUGH, Announce, Effort, Measurement, take_turns
from vgg_sweep.cli import compose
from vgg_sweep.config.schema import Config
from vgg_sweep.machine.hardware import Hardware, choose_hardware
from vgg_sweep.nets.fastest import fastest_choice

MICRO_BATCHES = (8, 16, 32)
WORTH_IT = 1.1
"""A gain worth a setting."""


def bench_settings(config: Config, num_classes: int, effort: Effort, progress: Announce) -> list[Measurement]:
    """The default, the fastest of all combinations, torchvision's way, and the first looks."""
    config = replace(config, recipe=replace(config.recipe, batch_size=BATCH))
    own = (config, choose_hardware(config, fastest_choice(config, num_classes, progress, training=True)))
    device = own[1].device
    looked_at = []
    for way in alternatives(*own):
        tried, hardware = way
        progress(f"{hardware.precision} {hardware.layout} by {hardware.micro_batch} {'compiled' * tried.compile}")
        looked_at.append((take_turns({"": own_step(*way, num_classes)}, device, Effort(1, 0))[""], way))
    contest = {"ours": own, "ours, fastest": min(looked_at, key=lambda pair: pair[0])[1]}
    steps = {what: own_step(*way, num_classes) for what, way in contest.items()}
    if config.model.name in COLUMNS:
        contest["torchvision"] = (config, replace(own[1], precision="fp32", layout="nchw", micro_batch=0))
        steps["torchvision"] = plain_step(config, num_classes, BATCH, device)
    progress(f"{config.model.name}: {', '.join(steps)} take turns")
    times = take_turns(steps, device, effort)
    against = times.get("torchvision", times["ours"])
    rows = [train_row(what, *contest[what], num_classes, times[what]) for what in steps]
    return [
        *(replace(row, speedup=against / row.seconds) for row in rows),
        *(train_row("first look", *way, num_classes, seconds) for seconds, way in looked_at),
    ]


def alternatives(config: Config, hardware: Hardware) -> list[tuple[Config, Hardware]]:
    """Every combination that the settings leave open; compiled too if they say so or if there is a GPU."""
    precisions = dict.fromkeys([hardware.precision, "fp32"]) if config.precision == "auto" else [config.precision]
    layouts = ["channels-last", "nchw"] if config.layout == "auto" else [config.layout]
    compiles = [False, True] if hardware.device.type == "cuda" or config.compile else [False]
    micro_batches = MICRO_BATCHES if config.micro_batch == 0 else (config.micro_batch,)
    return [
        (
            replace(config, compile=compiled),
            replace(hardware, precision=precision, layout=layout, micro_batch=micro_batch),
        )
        for precision, layout, compiled, micro_batch in product(precisions, layouts, compiles, micro_batches)
    ]


def advice(rows: Sequence[Measurement]) -> str:
    """The settings to take, or that the default is as fast as any."""
    train = {row.what: row for row in rows}
    own, fastest = train["ours"], train["ours, fastest"]
    if (gain := own.seconds / fastest.seconds) <= WORTH_IT:
        return "The default layout, precision and micro-batch are as fast as any here."
    settings = f"layout={fastest.layout} precision={fastest.precision} micro_batch={fastest.micro_batch}"
    return f"{settings}{' compile=true' if fastest.compile else ''} makes a step {gain:.2f} times as fast."


def main(config: Config) -> None:
    console = Console()
    num_classes = config.classes or PAPER_CLASSES
    rows = bench_settings(config, num_classes, THOROUGH, console.print)
    console.print(table("train", [row for row in rows if row.what != "first look"]))
    looks = sorted((row for row in rows if row.what == "first look"), key=lambda row: row.seconds)
    console.print(table("train, one step each", looks))
    console.print(advice(rows))
    console.print(bottleneck(rows[0], config, num_classes))


if __name__ == "__main__":
    compose.run(main, ["data=imagenet", *sys.argv[1:]], compose.Flags())
