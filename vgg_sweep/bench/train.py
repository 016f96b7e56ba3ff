"""`bench train`: a step of training, in the ways this machine offers, beside torchvision's way."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch.nn import functional as F

from vgg_sweep.bench.plain import BATCH, COLUMNS, plain_net
from vgg_sweep.bench.timing import Progress, Row, peak_flops, peak_memory, take_turns
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
MICRO_BATCHES = (8, 16, 32)


def bench_train(config: Config, num_classes: int, seconds: float, progress: Progress) -> list[Row]:
    """A step of `BATCH` images: as a run of `config` takes it here, with each layout, precision and micro-batch worth
    trying, and with torchvision's net as its reference script trains by default.

    Images are random and lie ready: what loads them is the business of `bench data`. After a first look at all of them
    the settings of `config`, the fastest and torchvision's take turns.
    """
    config = replace(config, recipe=replace(config.recipe, batch_size=BATCH))
    progress(f"{config.model.name}: what is fastest here")
    own = _Way(config, choose_device(config, fastest_choice(config, num_classes, progress, training=True)))
    looked_at = []
    for way in _alternatives(own):
        progress(f"{way.in_words()}: first look")
        looked_at.append((take_turns({"": _own_step(way, num_classes)}, way.device.place, 0, rounds=1)[""], way))
    fastest = min(looked_at, key=lambda pair: pair[0])[1] if looked_at else own
    contest = {"ours": own, "ours, fastest": fastest}
    steps = {what: _own_step(way, num_classes) for what, way in contest.items()}
    if config.model.name in COLUMNS:
        plain = replace(own.device, precision="fp32", layout="nchw", micro_batch=BATCH)
        contest["torchvision"] = _Way(replace(config, compile=False), plain)
        steps["torchvision"] = _plain_step(contest["torchvision"], num_classes)
    progress(f"{config.model.name}: {', '.join(steps)} take turns")
    times = take_turns(steps, own.device.place, seconds)
    rows = [_row(what, contest[what], num_classes, times[what], steps[what]) for what in steps]
    if "torchvision" in times:
        rows = [replace(row, speedup=times["torchvision"] / row.seconds) for row in rows]
    return rows + [_row("first look", way, num_classes, median, None) for median, way in looked_at]


@dataclass(frozen=True)
class _Way:
    """A way to take a step."""

    config: Config
    device: Device

    def in_words(self) -> str:
        compiled = ", compiled" if self.config.compile else ""
        device = self.device
        at_once = device.micro_batch or BATCH
        return f"{self.config.model.name}, {device.precision}, {device.layout}, {at_once} at once{compiled}"


def _alternatives(own: _Way) -> list[_Way]:
    """Every combination that the settings leave open; compiled too if they say so or if there is a GPU."""
    config, device = own.config, own.device
    precisions = dict.fromkeys([device.precision, "fp32"]) if config.precision == "auto" else [config.precision]
    layouts = ["channels-last", "nchw"] if config.layout == "auto" else [config.layout]
    compiles = [False, True] if device.place.type == "cuda" or config.compile else [False]
    micro_batches = MICRO_BATCHES if config.micro_batch == 0 else (config.micro_batch,)
    return [
        _Way(
            replace(config, compile=compiled),
            replace(device, precision=precision, layout=layout, micro_batch=micro_batch),
        )
        for precision, layout, compiled, micro_batch in product(precisions, layouts, compiles, micro_batches)
    ]


def _own_step(way: _Way, num_classes: int) -> Callable[[], object]:
    config, device = way.config, way.device
    net = build_net(config, num_classes)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    net.to(device.place, memory_format=device.memory_format)  # type: ignore[call-overload]
    net.train()
    learner = Learner(net, config, STATISTICS, device)
    learner.set_learning_rate(1e-6)
    images_NHWC = torch.randint(0, 256, (BATCH, config.crop, config.crop, 3), dtype=torch.uint8)
    labels_N = torch.randint(0, num_classes, (BATCH,))
    batch = Batch(images_NHWC.permute(0, 3, 1, 2), labels_N, torch.randn(BATCH, 3), range(BATCH), BATCH, BATCH, 0.0)
    return lambda: learner.step(batch, 0)


def _plain_step(way: _Way, num_classes: int) -> Callable[[], object]:
    config, device = way.config, way.device
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


def _row(what: str, way: _Way, num_classes: int, median: float, step: Callable[[], object] | None) -> Row:
    config, device = way.config, way.device
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
    macs = BATCH * PASSES_OF_A_STEP * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
    return Row(
        bench="train",
        what=what,
        config=config.model.name,
        image_px=config.crop,
        batch=BATCH,
        micro_batch=device.micro_batch or BATCH,
        precision=device.precision,
        layout=device.layout,
        compile=config.compile,
        device=device.name,
        seconds=median,
        images_per_second=BATCH / median,
        share_of_peak=2 * macs / median / peak_flops(device.place, device.dtype),
        peak_memory_bytes=peak_memory(step, device.place) if step else None,
    )
