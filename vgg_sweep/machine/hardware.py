"""Where a net runs, in which precision and in which layout."""

import contextlib
import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.machine.choices import Choice, ComputeMode, cpu_name

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MEMORY_FORMATS = {"channels-last": torch.channels_last, "nchw": torch.contiguous_format}

CPU_MICRO_BATCH_PX = 16 * 224**2
"""Pixels that go through the net at once on a CPU, where nothing was measured: more took more memory, at no gain."""


@dataclass(frozen=True)
class Hardware:
    """The hardware of this run and how it is used."""

    device: torch.device
    precision: str
    name: str
    layout: str
    """`channels-last` or `nchw`."""
    tf32: str = "none"
    """Which fp32 products are rounded to TF32: `none`, `convolutions` or `all`."""
    micro_batch: int = 0
    """The most images that go through the net at once in training; 0 for all of a batch."""
    chosen_from: Mapping[str, float] = field(default_factory=dict)
    """The measurements behind all this, if any: `Choice.chosen_from`."""

    def laid_out(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """The images in the layout of the net."""
        return images_NCHW.contiguous(memory_format=self.memory_format)

    def hold(self, net: nn.Module) -> None:
        """Move the net here, into its layout."""
        net.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout in torch's words."""
        return MEMORY_FORMATS[self.layout]

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        return autocast(self.device, self.precision)

    def expect_shapes(self, *, alike: bool) -> None:
        """Say whether the shapes that go through the net are `alike`, as in training, or differ, as in scoring.

        Where they are alike, cuDNN tries its algorithms on each. On a CPU memory that is freed is kept for what comes
        next, blocks of any size or else small ones: asking the system for it anew took a fifth of a step's time (D at
        224, micro-batch 8), and a third of that of scoring crops (the demo's D).
        """
        torch.backends.cudnn.benchmark = alike and not torch.are_deterministic_algorithms_enabled()
        _keep_freed_memory(all_sizes=alike)

    def reset_peak_memory(self) -> None:
        """Start a new measurement: a process may do several runs."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Compute convolutions and matrix products in `precision`."""
    is_reduced = precision != "fp32"
    return torch.autocast(device.type, DTYPES[precision] if is_reduced else None, enabled=is_reduced)


def choose_hardware(config: Config, choice: Choice | None = None) -> Hardware:
    """The device of `config`, or the best there is. Raises `ConfigError` if the one asked for is not there.

    What `config` leaves open follows `choice`, or is plain without one.
    """
    name = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name} is not available here; use device=auto or device=cpu.") from error
    if config.threads:
        torch.set_num_threads(config.threads)
    choice = choice or _unmeasured(config, device)
    way = choice.way
    set_tf32(way.tf32)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    if config.deterministic != torch.are_deterministic_algorithms_enabled():  # it imports torch's compiler
        torch.use_deterministic_algorithms(config.deterministic)
    if device.type == "cuda":
        title, tf32 = torch.cuda.get_device_name(device), way.tf32
    else:
        threads = torch.get_num_threads()
        title, tf32 = f"CPU, {threads} thread{'s' * (threads > 1)} of {os.cpu_count()}", "none"
    micro_batch = config.micro_batch or choice.micro_batch
    return Hardware(device, way.precision, title, way.layout, tf32, micro_batch, choice.chosen_from)


def _unmeasured(config: Config, device: torch.device) -> Choice:
    """What `config` names, and for what it leaves open fp32, channels-last and torch's own use of TF32."""
    precision = "fp32" if config.precision == "auto" else config.precision
    layout = "channels-last" if config.layout == "auto" else config.layout
    micro_batch = max(1, CPU_MICRO_BATCH_PX // config.crop**2) if device.type == "cpu" else 0
    return Choice(ComputeMode(precision, asked_tf32(config), layout), micro_batch)


def asked_tf32(config: Config) -> str:
    """`all` if it is asked for; `none` if fp32 is; else `convolutions`, which is torch's default."""
    return "all" if config.tf32 else ("none" if config.precision == "fp32" else "convolutions")


def hardware_name(device: torch.device) -> str:
    """What decides how fast `device` is at what: the GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def _keep_freed_memory(*, all_sizes: bool) -> None:
    """Have blocks come from the heap, which then never shrinks; those above 32 MiB, the most there can be, from the
    system, one by one, unless it is to be `all_sizes`.

    Only where the C library is glibc; its numbers of M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_MMAP_MAX are -1, -3, -4.
    """
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(-1, 2**31 - 1)
        c_library.mallopt(-3, 2**25)
        c_library.mallopt(-4, 0 if all_sizes else 65536)


def set_tf32(tf32: str) -> None:
    """Let GPUs round the factors of `none`, `convolutions` or `all` fp32 products."""
    torch.backends.cuda.matmul.allow_tf32 = tf32 == "all"
    torch.backends.cudnn.allow_tf32 = tf32 != "none"  # torch.export refuses to work beside the newer `fp32_precision`
