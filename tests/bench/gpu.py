"""`make bench-gpu`: training and scoring of A, D and E at 224 on this machine's GPU, beside how it is usually done.

Ours by default; torchvision's reference settings (fp32 with TF32 convolutions, NCHW, cuDNN's search); and as timm has
it: autocast in bf16, channels-last. Batches of each take turns; images lie on the GPU for the others and in memory for
ours. The share is of the larger of the rates at which this GPU multiplies matrices in bf16 and in fp32.
    python -m tests.bench.gpu            all, in ten minutes at most
    python -m tests.bench.gpu --device cpu --nets A --crop 64 --width 0.0625 --batch 8 --seconds 1    a try
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from tests.bench.plain import plain_net, plain_step
from vgg_sweep.bench.measures import STATISTICS, own_step
from vgg_sweep.bench.timing import Effort, peak_flops, take_turns
from vgg_sweep.config.options import load_option
from vgg_sweep.config.schema import Config, Recipe
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.score.score import pass_posteriors
from vgg_sweep.sweep.forecast import FORWARD_AND_BACKWARD

CLASSES = 1000
MOST_SECONDS = 600
Works = dict[str, Callable[[], object]]


def training(config: Config, device: torch.device) -> Works:
    """A step on a batch, each way."""
    batch = config.recipe.batch_size
    choice = fastest_choice(config, CLASSES, print, training=True)
    return {
        "ours": own_step(config, choose_hardware(config, choice), CLASSES),
        "torchvision": plain_step(config, CLASSES, batch, device),
        "timm-like": _autocast_step(config, batch, device),
    }


def _autocast_step(config: Config, batch: int, device: torch.device) -> Callable[[], object]:
    """bf16 by autocast, channels-last, SGD with Nesterov's momentum, as timm's script has it with --amp."""
    net = plain_net(config, CLASSES).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), 1e-6, momentum=0.9, weight_decay=2e-5, nesterov=True)
    images_NCHW = torch.randn(batch, 3, config.crop, config.crop, device=device)
    images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
    labels_N = torch.randint(0, CLASSES, (batch,), device=device)

    def step() -> None:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            with torch.autocast(device.type, torch.bfloat16):
                loss = F.cross_entropy(net(images_NCHW), labels_N)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def scoring(config: Config, device: torch.device) -> Works:
    """Class posteriors of centre crops of a batch, each way; ours takes decoded images from memory."""
    hardware = choose_hardware(config, fastest_choice(config, CLASSES, print, training=False))
    net = build_net(config, CLASSES).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    net.to(device, memory_format=hardware.memory_format)  # type: ignore[call-overload]
    preprocessing, batch = own_preprocessing(STATISTICS, config.recipe.pixel_max), config.recipe.batch_size
    images_HWC = list(np.random.default_rng(0).integers(0, 256, (batch, config.crop, config.crop, 3), np.uint8))
    images_NCHW = torch.randn(batch, 3, config.crop, config.crop, device=device)
    plain = plain_net(config, CLASSES).to(device).eval()
    timms = plain_net(config, CLASSES).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    last_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)

    def ours() -> None:
        pass_posteriors(net, images_HWC, Pass("centre-crop", config.crop, False), config.crop, preprocessing, hardware)

    def torchvisions() -> None:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            plain(images_NCHW).softmax(1).cpu()

    def timm_like() -> None:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            with torch.autocast(device.type, torch.bfloat16):
                scores_NK = timms(last_NCHW)
            scores_NK.float().softmax(1).cpu()

    return {"ours": ours, "torchvision": torchvisions, "timm-like": timm_like}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--nets", default="A,D,E")
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each net's training, and for its scoring")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit("There is no NVIDIA GPU here that torch can use; see torch.cuda.is_available().")
    device, began, console = torch.device(asked.device), time.monotonic(), Console()
    peaks = {str(dtype).split(".")[1]: peak_flops(device, dtype) for dtype in (torch.bfloat16, torch.float32)}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    rates = ", ".join(f"{kind} {rate / 1e12:,.1f}" for kind, rate in peaks.items())
    console.print(f"{name}, torch {torch.__version__}; matrix products in TFLOP/s: {rates}")
    for what, works_of, passes in (("training", training, FORWARD_AND_BACKWARD), ("scoring", scoring, 1)):
        table = Table("net", "way", "images/s", "of peak", "ours is", title=f"{what}, {asked.batch} images")
        for net in asked.nets.split(","):
            if time.monotonic() - began > MOST_SECONDS - 3 * asked.seconds:
                console.print(f"{net}: left out, as ten minutes are nearly over")
                continue
            config = Config(
                model=load_option("model", net), crop=asked.crop, width=asked.width, device=asked.device,
                recipe=replace(Recipe(), batch_size=asked.batch), cache="outputs/cache",
            )  # fmt: skip
            layers = parse_columns(config.model.columns, width=config.width, classes=CLASSES, crop=config.crop)
            flop = 2 * passes * asked.batch * net_macs(layers, config.crop, config.crop, pool_ceil=False)
            console.print(f"{net}: {what}")
            torch.backends.cudnn.benchmark = what == "training"
            times = take_turns(works_of(config, device), device, Effort(3, asked.seconds))
            for way, seconds in times.items():
                share = flop / seconds / max(peaks.values())
                faster = f"{seconds / times['ours']:.2f} x" if way != "ours" else ""
                table.add_row(net, way, f"{asked.batch / seconds:,.0f}", f"{share:.0%}", faster)
            if device.type == "cuda":
                torch.cuda.empty_cache()
        console.print(table)
    console.print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
