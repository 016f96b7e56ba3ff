"""The fastest way to train or score a net on this machine: measured once on its own layers, and kept."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.machine.choices import (
    CLEARLY_FASTER,
    Choice,
    ComputeMode,
    cache_choice,
    cached_choice,
    choice_file,
    choice_key,
    forced_precision,
)
from vgg_sweep.machine.hardware import Hardware, choose_hardware, hardware_name
from vgg_sweep.machine.measure import Piece, measured_choice, slowdown
from vgg_sweep.nets.columns import macs, num_params, output_sides, parse_columns
from vgg_sweep.nets.layers import Layer
from vgg_sweep.nets.vgg import FullyConnected
from vgg_sweep.runs.folder import waiting_lock

NUM_CONVOLUTIONS = 3
"""As many shapes of convolutions are timed, those with the most multiply-adds in the net."""


def fastest_choice(
    config: Config,
    num_classes: int,
    note: Callable[[str], None],
    *,
    training: bool,
    arithmetic: tuple[str, str] | None = None,
) -> Choice:
    """What `config` names, and for what it leaves open the fastest there is here for its net, measured if it has not
    been on this machine. With `arithmetic`, a precision and its TF32, only in that.

    `note` is told of a named precision that is slow here. Raises `ConfigError` as `choose_hardware` does, and for a
    precision in which this device cannot compute.
    """
    hardware = choose_hardware(config)
    precision, tf32 = arithmetic or (config.precision, hardware.tf32)
    if precision in ("bf16", "fp16"):
        _say_if_slow(hardware, precision, note)
    is_open = config.layout == "auto" or (training and (precision == "auto" or config.micro_batch == 0))
    forced = forced_precision()
    if forced or not is_open:
        taken = precision if precision != "auto" else forced if forced and training else "fp32"
        return Choice(ComputeMode(taken, tf32, hardware.layout), hardware.micro_batch)
    name, threads = hardware_name(hardware.device), torch.get_num_threads()
    of = choice_key(config, num_classes, name, threads, training=training, arithmetic=arithmetic)
    path = choice_file(Path(config.cache), of)
    with waiting_lock(path.with_suffix(".lock")):
        choice = cached_choice(path, of, note)
        if choice is None:
            hardware.expect_shapes(alike=training)
            pieces = net_pieces(config, num_classes)
            choice = measured_choice(config, pieces, hardware.device, training=training, arithmetic=arithmetic)
            cache_choice(path, of, choice)
    return choice


def net_pieces(config: Config, num_classes: int) -> list[Piece]:
    """Layers that stand for the net of `config`: the convolutions of most work, each shape once, most work first, and
    an FC layer.
    """
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
    sides = output_sides(layers, config.crop, pool_ceil=config.pool_ceil)
    shapes: dict[tuple[int, int, int, int], int] = {}
    for layer, side in zip(layers, sides, strict=True):
        if layer.kind == "conv":
            shape = (layer.in_channels, layer.out_channels, layer.kernel, side)
            shapes[shape] = shapes.get(shape, 0) + macs(layer, side, side)
    most = sorted(shapes, key=lambda shape: shapes[shape], reverse=True)[:NUM_CONVOLUTIONS]
    of_the_rest = sum(shapes.values()) / sum(shapes[shape] for shape in most)
    convolutions = [_convolution(*shape, work=shapes[shape] * of_the_rest) for shape in most]
    return [*convolutions, _fully_connected([layer for layer in layers if layer.kind == "fc"])]


def _convolution(in_channels: int, out_channels: int, kernel: int, side: int, *, work: float) -> Piece:
    module = nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2), nn.ReLU(inplace=True))
    own = in_channels * out_channels * kernel**2 * side**2
    return Piece(module, (in_channels, side, side), own, work / own, True)


def _fully_connected(layers: list[Layer]) -> Piece:
    """The second of three, which stands for all in proportion to their weights: the first is large, at the paper's
    size.
    """
    middle = layers[len(layers) // 2]
    module = FullyConnected(middle.in_channels, middle.out_channels, 1)
    own = macs(middle, 1, 1)
    share = sum(map(num_params, layers)) / num_params(middle)
    return Piece(module, (middle.in_channels, 1, 1), own, share, False)


def _say_if_slow(hardware: Hardware, precision: str, note: Callable[[str], None]) -> None:
    try:
        factor = slowdown(hardware.device, precision)
    except RuntimeError as error:
        raise ConfigError(
            f"precision={precision} cannot be computed on {hardware.name} ({error}); use precision=fp32 or auto."
        ) from error
    if factor >= CLEARLY_FASTER:
        note(
            f"precision={precision} takes {factor:.1f} times as long as fp32 here, measured on a small convolution; "
            "precision=auto chooses the fastest."
        )
