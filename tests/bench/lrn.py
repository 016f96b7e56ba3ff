"""`make bench-lrn`: the local response normalisation of A-LRN beside `torch.nn.LocalResponseNorm`."""

import sys
from collections.abc import Callable

import torch
from rich.console import Console
from torch import Tensor, nn

from vgg_sweep.bench.bench import table
from vgg_sweep.bench.timing import THOROUGH, Announce, Effort, Measurement, peak_memory, take_turns
from vgg_sweep.cli import compose
from vgg_sweep.config.schema import Config
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.nets.lrn import ALPHA, BETA, LRN, K, N

IMAGES, CHANNELS = 16, 64
"""As they leave conv1_1 at the paper's width, in a batch that fits a laptop."""


def bench_lrn(config: Config, effort: Effort, progress: Announce) -> list[Measurement]:
    """Forward and backward on what conv1_1 gives at this crop, in both layouts, and the memory both take beyond their
    input.
    """
    hardware = choose_hardware(config)
    rows = []
    for layout, memory_format in (("channels-last", torch.channels_last), ("nchw", torch.contiguous_format)):
        progress(f"LRN, {layout}")
        activations_NCHW = torch.randn(IMAGES, CHANNELS, config.crop, config.crop, device=hardware.device).relu_()
        activations_NCHW = activations_NCHW.to(memory_format=memory_format).requires_grad_()
        layers = {"ours": LRN(), "torch.nn.LocalResponseNorm": nn.LocalResponseNorm(N, ALPHA * N, BETA, K)}
        works = {what: _both_ways(layer, activations_NCHW) for what, layer in layers.items()}
        times = take_turns(works, hardware.device, effort)
        slowest = times["torch.nn.LocalResponseNorm"]
        rows += [
            Measurement(
                bench="lrn",
                what=what,
                config="A-LRN",
                image_px=config.crop,
                batch=IMAGES,
                precision="fp32",
                layout=layout,
                device=hardware.name,
                seconds=times[what],
                images_per_second=IMAGES / times[what],
                peak_memory_bytes=peak_memory(works[what], hardware.device),
                speedup=slowest / times[what],
            )
            for what in works
        ]
    return rows


def _both_ways(layer: nn.Module, activations_NCHW: Tensor) -> Callable[[], object]:
    gradient_NCHW = torch.ones_like(activations_NCHW)
    return lambda: torch.autograd.grad(layer(activations_NCHW), activations_NCHW, gradient_NCHW)


def main(config: Config) -> None:
    console = Console()
    console.print(table("lrn", bench_lrn(config, THOROUGH, console.print)))


if __name__ == "__main__":
    compose.run(main, ["data=imagenet", *sys.argv[1:]], compose.Flags())
