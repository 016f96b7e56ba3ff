"""Training and scoring beside how they are usually done: torchvision's net in its reference script's way, and the same
net in fp32 applied to one view after another. Works take turns.

    python -m tests.bench.beside model=D
"""

import sys
from dataclasses import replace
from functools import partial

from rich.console import Console

from tests.bench.plain import COLUMNS, plain_step
from vgg_sweep.bench.bench import PAPER_CLASSES, table
from vgg_sweep.bench.measures import (
    BATCH,
    QUICK_CPU_BATCH,
    own_step,
    random_images,
    random_net,
    score_row,
    score_works,
    scored,
    train_row,
)
from vgg_sweep.bench.timing import THOROUGH, Announce, Effort, Measurement, peak_memory, take_turns
from vgg_sweep.cli import compose
from vgg_sweep.config.schema import Config
from vgg_sweep.images.views.crops import views
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.fastest import fastest_choice


def train_beside(config: Config, num_classes: int, effort: Effort, progress: Announce) -> list[Measurement]:
    """A step with the settings of `config`, and one with torchvision's net as its reference script trains by default.

    Images are random and lie ready.
    """
    device = choose_hardware(config).device
    batch = QUICK_CPU_BATCH if device.type == "cpu" and not effort.thorough else BATCH
    config = replace(config, recipe=replace(config.recipe, batch_size=batch))
    hardware = choose_hardware(config, fastest_choice(config, num_classes, progress, training=True))
    devices = {"ours": hardware, "torchvision": replace(hardware, precision="fp32", layout="nchw", micro_batch=0)}
    steps = {"ours": own_step(config, hardware, num_classes)}
    if config.model.name in COLUMNS:
        steps["torchvision"] = plain_step(config, num_classes, batch, device)
    hardware.expect_shapes(alike=device.type == "cuda")  # on a CPU, memory that is kept hides what the next step takes
    memory = {}
    for what, step in steps.items():
        progress(f"{config.model.name}, {what}: {batch} images to warm up")
        memory[what] = peak_memory(step, device)
    hardware.expect_shapes(alike=True)
    progress(f"{config.model.name}: {', '.join(steps)} take turns")
    times = take_turns(steps, device, effort, is_warm=True)
    rows = [train_row(what, config, devices[what], num_classes, times[what], memory[what]) for what in steps]
    return [replace(row, speedup=times["torchvision"] / row.seconds) if "torchvision" in times else row for row in rows]


def score_beside(config: Config, num_classes: int, effort: Effort, progress: Announce) -> list[Measurement]:
    """Dense evaluation at each Q, and crops of an image, with the settings of `config` and as people do it: fp32, NCHW,
    one view at a time.
    """
    hardware = choose_hardware(config, fastest_choice(config, num_classes, progress, training=False))
    hardware.expect_shapes(alike=False)
    net, plain = random_net(config, num_classes).eval(), replace(hardware, precision="fp32", layout="nchw")
    rows = []
    for work in score_works(config.crop, effort):
        wanted, count, _ = work
        method = wanted[0].method
        progress(f"{config.model.name}, {method}, Q = {wanted[0].Q}")
        images = [(each, random_images(each.Q, count)) for each in wanted]
        singles = [
            (replace(each, method="dense"), [view_HWC])
            for each, images_HWC in images
            for image_HWC in images_HWC
            for view_HWC in views(image_HWC, method, config.crop)
        ]
        ways = {"ours": partial(scored, net, config, hardware, images)}
        ways["one by one"] = partial(scored, net, config, plain, singles)
        times = take_turns(ways, hardware.device, effort)
        rows += [
            replace(
                score_row(what, config, how, num_classes, work, times[what]), speedup=times["one by one"] / times[what]
            )
            for what, how in (("ours", hardware), ("one by one", plain))
        ]
    return rows


def main(config: Config) -> None:
    console, num_classes = Console(), config.classes or PAPER_CLASSES
    console.print(table("train", train_beside(config, num_classes, THOROUGH, console.print)))
    console.print(table("score", score_beside(config, num_classes, THOROUGH, console.print)))


if __name__ == "__main__":
    compose.run(main, ["data=imagenet", *sys.argv[1:]], compose.Flags())
