"""`bench train`: a step of training, in the ways this machine offers, beside torchvision's way."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import torch
from torch.nn import functional as F

from vgg_sweep.bench.plain import BATCH, COLUMNS, plain_net
from vgg_sweep.bench.timing import Progress, Row, peak_flops, peak_memory, take_turns
from vgg_sweep.config.schema import Config
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.machine.device import choose_device
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.train.step import Learner

STATISTICS = Statistics([0.48, 0.46, 0.41], [0.01, 0.02, 0.2], torch.eye(3).tolist())
"""Speed does not depend on them."""
PASSES_OF_A_STEP = 3
"""Forward, the gradients of the inputs, those of the weights: each as many multiply-adds as the forward pass."""
MICRO_BATCHES = (8, 16, 32)


def bench_train(config: Config, num_classes: int, seconds: float, progress: Progress) -> list[Row]:
    """A step of `BATCH` images: with the settings of `config`, with each layout, precision and micro-batch worth trying
    here, and with torchvision's net as its reference script trains by default.

    Images are random and lie ready: what loads them is the business of `bench data`. After a first look at all of them
    the settings of `config`, the fastest and torchvision's take turns.
    """
    own = replace(config, recipe=replace(config.recipe, batch_size=BATCH))
    looked_at = []
    for setting in _alternatives(own):
        progress(f"{_in_words(setting)}: first look")
        looked_at.append((_seconds(setting, num_classes), setting))
    fastest = min(looked_at, key=lambda pair: pair[0])[1] if looked_at else own
    contest = {"ours": own, "ours, fastest": fastest}
    steps = {what: _own_step(setting, num_classes) for what, setting in contest.items()}
    if config.model.name in COLUMNS:
        contest["torchvision"] = replace(own, precision="fp32", layout="nchw", compile=False, micro_batch=BATCH)
        steps["torchvision"] = _plain_step(contest["torchvision"], num_classes)
    progress(f"{config.model.name}: {', '.join(steps)} take turns")
    times = take_turns(steps, choose_device(own).place, seconds)
    rows = [_row(what, contest[what], num_classes, times[what], steps[what]) for what in steps]
    if "torchvision" in times:
        rows = [replace(row, speedup=times["torchvision"] / row.seconds) for row in rows]
    return rows + [_row("first look", setting, num_classes, median, None) for median, setting in looked_at]


def _alternatives(config: Config) -> list[Config]:
    """Every combination that `config` leaves open; compiled too if it says so or if there is a GPU."""
    device = choose_device(config)
    precisions = dict.fromkeys([device.precision, "fp32"]) if config.precision == "auto" else [config.precision]
    layouts = ["channels-last", "nchw"] if config.layout == "auto" else [config.layout]
    compiles = [False, True] if device.place.type == "cuda" or config.compile else [False]
    micro_batches = MICRO_BATCHES if config.micro_batch == 0 else (config.micro_batch,)
    return [
        replace(config, precision=precision, layout=layout, compile=compiled, micro_batch=micro_batch)
        for precision, layout, compiled, micro_batch in product(precisions, layouts, compiles, micro_batches)
    ]


def _in_words(config: Config) -> str:
    compiled = ", compiled" if config.compile else ""
    return f"{config.model.name}, {config.precision}, {config.layout}, {config.micro_batch} at once{compiled}"


def _seconds(config: Config, num_classes: int) -> float:
    """One step after one to warm up."""
    step = _own_step(config, num_classes)
    return take_turns({"": step}, choose_device(config).place, 0, rounds=1)[""]


def _own_step(config: Config, num_classes: int) -> Callable[[], object]:
    device = choose_device(config)
    net = build_net(config, num_classes)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    net.to(device.place, memory_format=device.memory_format(training=True))  # type: ignore[call-overload]
    net.train()
    learner = Learner(net, config, STATISTICS, device)
    learner.set_learning_rate(1e-6)
    images_NHWC = torch.randint(0, 256, (BATCH, config.crop, config.crop, 3), dtype=torch.uint8)
    labels_N = torch.randint(0, num_classes, (BATCH,))
    batch = Batch(images_NHWC.permute(0, 3, 1, 2), labels_N, torch.randn(BATCH, 3), range(BATCH), BATCH, BATCH, 0.0)
    return lambda: learner.step(batch, 0)


def _plain_step(config: Config, num_classes: int) -> Callable[[], object]:
    device = choose_device(config)
    net = plain_net(config, num_classes).to(device.place)
    optimizer = torch.optim.SGD(net.parameters(), 1e-6, momentum=0.9, weight_decay=1e-4)
    images_NCHW = torch.randn(BATCH, 3, config.crop, config.crop, device=device.place)
    labels_N = torch.randint(0, num_classes, (BATCH,), device=device.place)

    def step() -> None:
        loss = F.cross_entropy(net(images_NCHW), labels_N)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _row(what: str, config: Config, num_classes: int, median: float, step: Callable[[], object] | None) -> Row:
    device = choose_device(config)
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
    macs = BATCH * PASSES_OF_A_STEP * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
    return Row(
        bench="train",
        what=what,
        config=config.model.name,
        image_px=config.crop,
        batch=BATCH,
        micro_batch=config.micro_batch,
        precision=device.precision,
        layout=device.layout_name(training=True),
        compile=config.compile,
        device=device.name,
        seconds=median,
        images_per_second=BATCH / median,
        share_of_peak=2 * macs / median / peak_flops(device.place, device.dtype),
        peak_memory_bytes=peak_memory(step, device.place) if step else None,
    )
