"""Comparable times: works take turns, so that whatever else the machine does affects all of them alike."""

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

Announce = Callable[[str], None]
"""Told what is being measured."""


@dataclass(frozen=True)
class Effort:
    """How long works that are compared are measured."""

    rounds: int
    """The fewest turns of each work."""
    seconds: float
    """As many more turns as begin within this time."""
    thorough: bool = False
    """Whole batches, all settings and all views; otherwise fewer: net D at 224 takes a CPU about two minutes."""


@dataclass(frozen=True)
class Measurement:
    """One measurement. Fields that do not apply are None."""

    bench: str
    """`train`, `score` or `data`."""
    what: str
    """`ours`; or, of the development tools, whose way of doing it this is."""
    config: str
    """Net, such as D."""
    seconds: float
    """Median of a round."""
    image_px: int | None = None
    batch: int | None = None
    micro_batch: int | None = None
    """Images that go through the net at once; 0 if chosen by the program."""
    precision: str = ""
    layout: str = ""
    compile: bool = False
    device: str = ""
    images_per_second: float | None = None
    images_per_second_per_core: float | None = None
    share_of_peak: float | None = None
    """Of the rate at which this machine multiplies matrices of this type, in multiply-adds that the net needs."""
    peak_memory_bytes: int | None = None
    """Beyond what was there before the work."""
    speedup: float | None = None
    """How many times faster than the row that this bench compares with."""


QUICK, THOROUGH = Effort(2, 10), Effort(3, 10, thorough=True)


def take_turns(
    works: Mapping[str, Callable[[], object]], device: torch.device, effort: Effort, *, is_warm: bool = False
) -> dict[str, float]:
    """The median seconds of each work. All are done once, unless they are warm from just before, then in turns."""
    for work in works.values() if not is_warm else ():
        seconds_of(work, device)
    times: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    while len(next(iter(times.values()))) < effort.rounds or time.perf_counter() - began < effort.seconds:
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


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that `work` holds at its peak beyond those held before; None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        seconds_of(work, device)
        return torch.cuda.max_memory_allocated(device) - before
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # Linux: the high-water mark starts anew
        before = _most_resident_bytes()
        work()
        return max(0, _most_resident_bytes() - before)
    return None


def _most_resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
