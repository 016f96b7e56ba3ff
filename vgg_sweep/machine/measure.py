"""Times parts of a net in every way that this machine offers, in a second or two, and chooses the fastest."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import torch
from torch import nn

from vgg_sweep.config.schema import Config
from vgg_sweep.machine.choices import Choice, ComputeMode, fastest_way
from vgg_sweep.machine.hardware import CPU_MICRO_BATCH_PX, DTYPES, MEMORY_FORMATS, asked_tf32, autocast, set_tf32

PIECE_MACS = {"cpu": 1e9, "cuda": 2e11}
"""Multiply-adds of one forward pass of a piece, at most, if an image has no more: some hundredths of a second."""
PIECE_SECONDS = 0.02
"""For which a piece is timed in all ways together, at least, and twice in each way."""
HOPELESS = 5.0
"""A way that takes this many times as long as the best, as emulated precisions do, is not timed further."""
CPU_MICRO_BATCHES = (0.5, 1, 2)
"""Sizes tried on a CPU, in `CPU_MICRO_BATCH_PX`."""
MICRO_BATCH_SECONDS = 1.5
"""A size is not tried if it would take longer, as the one before it tells."""
AS_GOOD = 1.05
"""The smallest micro-batch is taken that is as fast as the best but for this."""


@dataclass(frozen=True)
class Piece:
    """One layer of a net."""

    module: nn.Module
    input_CHW: tuple[int, int, int]
    macs: int
    """Multiply-adds of its forward pass on an image."""
    share: float
    """How many times its own work it stands for."""
    is_convolution: bool


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes, to its end on a GPU."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measured_choice(
    config: Config,
    pieces: Sequence[Piece],
    device: torch.device,
    *,
    training: bool,
    arithmetic: tuple[str, str] | None = None,
) -> Choice:
    """The fastest way to train or score the net made of `pieces`, of those that `config` leaves open, or of those in
    `arithmetic`, a precision and its TF32, if that is given.
    """
    arithmetics = [arithmetic] if arithmetic else _arithmetics(config, device, training=training)
    layouts = ["channels-last", "nchw"] if config.layout == "auto" else [config.layout]
    ways = [ComputeMode(precision, tf32, layout) for (precision, tf32), layout in product(arithmetics, layouts)]
    seconds = _seconds_per_image(pieces, ways, device, config.recipe.batch_size if training else 1, training=training)
    way = fastest_way(seconds)
    chosen_from = {each.name: _rounded(value) for each, value in seconds.items()} if len(ways) > 1 else {}
    if not training or config.micro_batch:
        return Choice(way, config.micro_batch, chosen_from)
    micro_batch, of_sizes = _micro_batch(pieces, way, device, config.crop, config.recipe.batch_size)
    return Choice(way, micro_batch, chosen_from | of_sizes)


def _arithmetics(config: Config, device: torch.device, *, training: bool) -> list[tuple[str, str]]:
    """Those to choose from, the plainest first. Only training may take a reduced precision that nobody asked for."""
    if device.type == "cpu":
        named = "fp32" if config.precision == "auto" else config.precision
        return [("fp32", "none"), ("bf16", "none")] if config.precision == "auto" and training else [(named, "none")]
    plain = asked_tf32(config)
    if config.precision != "auto":
        return [(config.precision, plain)]
    if not training:
        return [("fp32", plain)]
    rounded = [("fp32", "all")] if plain != "all" and torch.cuda.get_device_capability(device) >= (8, 0) else []
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return [("fp32", plain), *rounded, *([("bf16", plain)] if has_bf16 else [])]


def _seconds_per_image(
    pieces: Sequence[Piece], ways: Sequence[ComputeMode], device: torch.device, batch_size: int, *, training: bool
) -> dict[ComputeMode, float]:
    """Seconds that the net takes for an image in each way, as far as the pieces tell.

    A hopeless way is timed no further and counted as so many times the best as it was when given up.
    """
    totals, given_up = dict.fromkeys(ways, 0.0), dict[ComputeMode, float]()
    if len(ways) == 1:
        return totals
    for piece in pieces:
        num_images = max(1, min(batch_size, int(PIECE_MACS[device.type] / piece.macs)))
        works = {way: _work(piece, way, device, num_images, training) for way in ways if way not in given_up}
        plain = math.inf
        for way, work in works.items():
            seconds = min(seconds_of(work, device) for _ in range(2))  # the first time, oneDNN and cuDNN prepare
            plain = min(plain, seconds)
            if seconds > HOPELESS * plain and seconds > PIECE_SECONDS:
                given_up[way] = seconds / plain
        works = {way: work for way, work in works.items() if way not in given_up}
        for way, seconds in _take_turns(works, device).items():
            totals[way] += seconds / num_images * piece.share
    fastest = min(total for way, total in totals.items() if way not in given_up)
    return {way: given_up[way] * fastest if way in given_up else total for way, total in totals.items()}


def _take_turns(works: Mapping[ComputeMode, Callable[[], object]], device: torch.device) -> dict[ComputeMode, float]:
    """The best time of each, of at least two turns."""
    best, began, turns = dict.fromkeys(works, math.inf), time.perf_counter(), 0
    while turns < 2 or time.perf_counter() - began < PIECE_SECONDS:
        for way, work in works.items():
            best[way] = min(best[way], seconds_of(work, device))
        turns += 1
    return best


def _work(piece: Piece, way: ComputeMode, device: torch.device, number: int, training: bool) -> Callable[[], object]:
    """The piece on random images: forward, and in training backward, as in a step."""
    layout = MEMORY_FORMATS[way.layout]
    module: nn.Module = copy.deepcopy(piece.module).to(device, memory_format=layout)  # type: ignore[call-overload]
    given = torch.randn(number, *piece.input_CHW, device=device)
    given = given.to(DTYPES[way.precision]).contiguous(memory_format=layout)  # as the layer before gives it
    sees_pixels = piece.input_CHW[0] == 3
    wanted = [*module.parameters(), *([] if sees_pixels else [given.requires_grad_(training)])]

    def forward() -> torch.Tensor:
        set_tf32(way.tf32)
        with torch.set_grad_enabled(training), autocast(device, way.precision):
            output: torch.Tensor = module(given)
        return output

    if not training:
        return forward
    gradient = torch.ones_like(forward().detach())
    return lambda: torch.autograd.grad(forward(), wanted, gradient)


def _micro_batch(
    pieces: Sequence[Piece], way: ComputeMode, device: torch.device, crop: int, batch_size: int
) -> tuple[int, dict[str, float]]:
    """The size of a micro-batch, and the seconds an image of each size that was tried.

    On a GPU all of a batch. On a CPU a convolution is faster on a few images, whose activations are near, and an FC
    layer on many, as its weights are read once for all of them.
    """
    sizes = [max(1, int(factor * CPU_MICRO_BATCH_PX / crop**2)) for factor in CPU_MICRO_BATCHES]
    convolutions = [piece for piece in pieces if piece.is_convolution]
    if device.type != "cpu" or batch_size <= sizes[0] or not convolutions:
        return 0, {}
    others = [piece for piece in pieces if not piece.is_convolution]
    like_all = sum(piece.macs * piece.share for piece in convolutions) / convolutions[0].macs
    found: dict[int, float] = {}
    took = 0.0
    for size in dict.fromkeys(min(size, batch_size) for size in sizes):
        if 2 * took > MICRO_BATCH_SECONDS:
            break
        began = time.perf_counter()
        found[size] = 0.0
        for piece, share in [(convolutions[0], like_all), *((piece, piece.share) for piece in others)]:
            work = _work(piece, way, device, size, training=True)
            found[size] += min(seconds_of(work, device) for _ in range(2)) / size * share
        took = time.perf_counter() - began
    best = min(found.values())
    chosen = next(size for size, seconds in found.items() if seconds <= AS_GOOD * best)
    return chosen, {f"{size} at once": _rounded(seconds) for size, seconds in found.items()}


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.3g}")


@cache
def slowdown(device: torch.device, precision: str) -> float:
    """How many times as long as in fp32 a small convolution takes forward and backward in `precision`.

    Raises `RuntimeError` if it cannot be computed in it.
    """
    piece = Piece(nn.Conv2d(32, 32, 3, padding=1), (32, 28, 28), 32 * 32 * 9 * 28**2, 1.0, True)
    works = [_work(piece, ComputeMode(each, "none", "channels-last"), device, 1, True) for each in ("fp32", precision)]
    plain, own = (min(map(partial(seconds_of, device=device), [work] * 4)) for work in works)
    return own / plain
