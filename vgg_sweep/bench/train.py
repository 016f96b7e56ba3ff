"""`bench train`: a step of training with the settings given, beside torchvision's way."""

from collections.abc import Callable
from dataclasses import replace

import torch

from vgg_sweep.bench.plain import BATCH, COLUMNS, plain_step
from vgg_sweep.bench.timing import Effort, Progress, Row, peak_flops, peak_memory, take_turns
from vgg_sweep.config.schema import Config
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.machine.device import Device, choose_device
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.train.step import Learner

STATISTICS = Statistics([0.48, 0.46, 0.41], [0.01, 0.02, 0.2], torch.eye(3).tolist())
"""Speed does not depend on them."""
PASSES_OF_A_STEP = 3
"""Forward, the gradients of the inputs, those of the weights: each as many multiply-adds as the forward pass."""
QUICK_CPU_BATCH = 16


def bench_train(config: Config, num_classes: int, effort: Effort, progress: Progress) -> list[Row]:
    """A step with the settings of `config`, and one with torchvision's net as its reference script trains by default.

    Images are random and lie ready: what loads them is the business of `bench data`.
    """
    place = choose_device(config).place
    batch = QUICK_CPU_BATCH if place.type == "cpu" and not effort.thorough else BATCH
    config = replace(config, recipe=replace(config.recipe, batch_size=batch))
    progress(f"{config.model.name}: what is fastest here")
    device = choose_device(config, fastest_choice(config, num_classes, progress, training=True))
    devices = {"ours": device, "torchvision": replace(device, precision="fp32", layout="nchw", micro_batch=0)}
    steps = {"ours": own_step(config, device, num_classes)}
    if config.model.name in COLUMNS:
        steps["torchvision"] = plain_step(config, num_classes, batch, place)
    device.expect_shapes(alike=place.type == "cuda")  # on a CPU, memory that is kept hides what the next step takes
    memory = {}
    for what, step in steps.items():
        progress(f"{config.model.name}, {what}: {batch} images to warm up")
        memory[what] = peak_memory(step, place)
    device.expect_shapes(alike=True)
    progress(f"{config.model.name}: {', '.join(steps)} take turns")
    times = take_turns(steps, place, effort, is_warm=True)
    rows = [train_row(what, config, devices[what], num_classes, times[what], memory[what]) for what in steps]
    return [replace(row, speedup=times["torchvision"] / row.seconds) if "torchvision" in times else row for row in rows]


def own_step(config: Config, device: Device, num_classes: int) -> Callable[[], object]:
    """A step as `train` takes it, on `recipe.batch_size` images that lie in memory, not on the device."""
    net = build_net(config, num_classes)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    net.to(device.place, memory_format=device.memory_format)  # type: ignore[call-overload]
    net.train()
    learner = Learner(net, config, STATISTICS, device)
    learner.set_learning_rate(1e-6)
    size = config.recipe.batch_size
    images_NHWC = torch.randint(0, 256, (size, config.crop, config.crop, 3), dtype=torch.uint8)
    labels_N = torch.randint(0, num_classes, (size,))
    batch = Batch(images_NHWC.permute(0, 3, 1, 2), labels_N, torch.randn(size, 3), range(size), size, size, 0.0)
    return lambda: learner.step(batch, 0)


def train_row(
    what: str, config: Config, device: Device, num_classes: int, seconds: float, memory: int | None = None
) -> Row:
    """The figures of a step that takes `seconds`."""
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
    batch = config.recipe.batch_size
    macs = batch * PASSES_OF_A_STEP * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
    return Row(
        bench="train",
        what=what,
        config=config.model.name,
        seconds=seconds,
        image_px=config.crop,
        batch=batch,
        micro_batch=device.micro_batch or batch,
        precision=device.precision,
        layout=device.layout,
        compile=config.compile and what != "torchvision",
        device=device.name,
        images_per_second=batch / seconds,
        share_of_peak=2 * macs / seconds / peak_flops(device.place, device.dtype),
        peak_memory_bytes=memory,
    )
