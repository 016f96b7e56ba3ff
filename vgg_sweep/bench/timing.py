"""Times as they can be compared: works take turns, so that whatever else the machine does befalls all of them alike."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import torch

from vgg_sweep.machine.measure import seconds_of

MIN_ROUNDS = 3

Progress = Callable[[str], None]
"""Told what is being measured."""


@dataclass(frozen=True)
class Row:
    """One thing measured. What has no meaning for it is None."""

    bench: str
    """`train`, `score`, `lrn`, `data` or `sweep`."""
    what: str
    """`ours`, or whose way of doing it this is."""
    config: str
    """Net, such as D."""
    image_px: int | None
    batch: int | None
    micro_batch: int | None
    """Images that go through the net at once; 0 if chosen by the program."""
    precision: str
    layout: str
    compile: bool
    device: str
    seconds: float
    """Median of a round."""
    images_per_second: float | None = None
    images_per_second_per_core: float | None = None
    share_of_peak: float | None = None
    """Of the rate at which this machine multiplies matrices of this type, in multiply-adds that the net needs."""
    peak_memory_bytes: int | None = None
    """Beyond what was there before the work."""
    speedup: float | None = None
    """How many times faster than the row that this bench compares with."""


def take_turns(
    works: Mapping[str, Callable[[], object]], device: torch.device, seconds: float, *, rounds: int = MIN_ROUNDS
) -> dict[str, float]:
    """The median seconds of each work. All are done once to warm up, then in turns: `rounds` times, and more while
    that takes less than `seconds` for all.
    """
    for work in works.values():
        seconds_of(work, device)
    times: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    while len(next(iter(times.values()))) < rounds or time.perf_counter() - began < seconds:
        for name, work in works.items():
            times[name].append(seconds_of(work, device))
    return {name: median(each) for name, each in times.items()}


@cache
def peak_flops(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Floating-point operations a second of the matrix product, two for each multiply-add: what a net of convolutions
    can reach at best. The best of some products of the size at which one takes a tenth of a second.
    """

    def product(side: int) -> Callable[[], object]:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        return lambda: a @ b

    side = 512
    while min(seconds_of(product(side), device) for _ in range(2)) < 0.1 and side < 16384:
        side *= 2
    multiply, best, began = product(side), math.inf, time.perf_counter()
    while time.perf_counter() - began < seconds:
        best = min(best, seconds_of(multiply, device))
    return 2 * side**3 / best


@cache
def bandwidth(device: torch.device) -> float:
    """Bytes a second that this machine reads and writes in copying a quarter of a gigabyte; the best of some times."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    seconds_of(lambda: target.copy_(source), device)
    return 2 * source.nbytes / min(seconds_of(lambda: target.copy_(source), device) for _ in range(5))


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that `work` holds at its peak beyond those held before; None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        seconds_of(work, device)
        return torch.cuda.max_memory_allocated(device) - before
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark starts anew
        before = _resident_bytes("VmHWM")
        work()
        return max(0, _resident_bytes("VmHWM") - before)
    return None


def _resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
