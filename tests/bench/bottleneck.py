"""What a training step waits for."""

import torch

from vgg_sweep.bench.timing import Measurement, peak_flops
from vgg_sweep.config.schema import Config
from vgg_sweep.machine.hardware import DTYPES, choose_hardware
from vgg_sweep.machine.measure import seconds_of
from vgg_sweep.nets.columns import net_macs, num_params, parse_columns
from vgg_sweep.nets.describe import activation_bytes_training
from vgg_sweep.sweep.forecast import FORWARD_AND_BACKWARD

ACTIVATION_TOUCHES = 6
"""A step writes and reads each activation, reads it again in the backward pass, writes and reads its gradient, and
passes it through the ReLU.
"""
WEIGHT_TOUCHES = 8
"""A step reads each weight twice, writes and reads its gradient, and SGD reads and writes weight and velocity."""


def bottleneck(row: Measurement, config: Config, num_classes: int) -> str:
    """What a training step waits for: the larger of the least time for its arithmetic and for its memory traffic, or
    neither.
    """
    device, dtype = choose_hardware(config).device, DTYPES[row.precision]
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
    batch = row.batch or 1
    macs = batch * FORWARD_AND_BACKWARD * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
    activations = activation_bytes_training(layers, config.crop, pool_ceil=config.pool_ceil) * dtype.itemsize / 4
    weights = sum(num_params(layer) for layer in layers) * torch.float32.itemsize
    traffic = batch * activations * ACTIVATION_TOUCHES + weights * WEIGHT_TOUCHES
    arithmetic = 2 * macs / peak_flops(device, dtype) / row.seconds
    memory = traffic / bandwidth(device) / row.seconds
    said = f"at the machine's full rates, arithmetic is {arithmetic:.0%} of the time of a step and memory "
    said += f"traffic {memory:.0%}"
    if max(arithmetic, memory) < 0.4:
        return f"Neither: {said}; the rest is the overhead of small layers, so let runs share the machine (jobs=N)."
    return f"Arithmetic: {said}." if arithmetic > memory else f"Memory traffic: {said}; a wider net uses it better."


def bandwidth(device: torch.device) -> float:
    """Bytes a second that this machine reads and writes in copying a quarter of a gigabyte; the best of some times."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    seconds_of(lambda: target.copy_(source), device)
    return 2 * source.nbytes / min(seconds_of(lambda: target.copy_(source), device) for _ in range(5))
