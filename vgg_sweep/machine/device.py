"""Where and in which precision a net runs, and the way from pixels to its input."""

import contextlib
import ctypes
import os
from dataclasses import dataclass

import torch

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError


@dataclass(frozen=True)
class Device:
    """The hardware of this run and how it is used."""

    place: torch.device
    precision: str
    name: str
    layout: str
    """`channels-last`, `nchw` or `auto`."""

    @property
    def dtype(self) -> torch.dtype:
        """The type in which convolutions and matrix products are computed."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def layout_name(self, *, training: bool) -> str:
        """`channels-last` or `nchw`.

        Channels-last is faster for these nets but for one case: training steps in bf16 on a CPU with AVX512-BF16 took
        1.5 times as long in it (D at 224, batch 16).
        """
        if self.layout != "auto":
            return self.layout
        return "nchw" if training and self.place.type == "cpu" and self.precision == "bf16" else "channels-last"

    def laid_out(self, images_NCHW: torch.Tensor, *, training: bool) -> torch.Tensor:
        """The images in the layout of the net."""
        return images_NCHW.contiguous(memory_format=self.memory_format(training=training))

    def memory_format(self, *, training: bool) -> torch.memory_format:
        """The layout in torch's words."""
        is_nchw = self.layout_name(training=training) == "nchw"
        return torch.contiguous_format if is_nchw else torch.channels_last

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        reduced = self.dtype if self.precision != "fp32" else None
        return torch.autocast(self.place.type, reduced, enabled=reduced is not None)

    def expect_shapes(self, *, alike: bool) -> None:
        """Say whether the shapes that go through the net are `alike`, as in training, or differ, as in scoring.

        Where they are alike, cuDNN tries its algorithms on each, and on a CPU the memory that a step frees is kept for
        the next: asking the system for it anew took a fifth of a step's time (D at 224, micro-batch 8).
        """
        torch.backends.cudnn.benchmark = alike and not torch.are_deterministic_algorithms_enabled()
        _keep_freed_memory(alike)

    def reset_peak_memory(self) -> None:
        """Measure anew: a process may do several runs."""
        if self.place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.place)


def choose_device(config: Config, *, training: bool = True) -> Device:
    """The device of `config`, or the best there is. Raises `ConfigError` if the one asked for is not there.

    Where the precision is left open, scores are fp32 on any device: in bf16 posteriors of the demo's nets were off by
    up to 0.07 and rows of its tables by up to 0.6 points.
    """
    name = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name} is not available here; use device=auto or device=cpu.") from error
    if config.threads:
        torch.set_num_threads(config.threads)
    _set_arithmetic(config)
    precision = config.precision
    if precision == "auto":
        precision = _fast_precision(device) if training else "fp32"
    title = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()}"
    )
    return Device(device, precision, title, config.layout)


def _keep_freed_memory(keep: bool) -> None:
    """Whether large blocks come from the heap, which then never shrinks, or from the system, one by one, as by itself.

    Only where the C library is glibc; its numbers of M_TRIM_THRESHOLD and M_MMAP_MAX are -1 and -4, its defaults 128
    KiB and 65536.
    """
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(-1, 2**31 - 1 if keep else 128 * 1024)
        c_library.mallopt(-4, 0 if keep else 65536)


def _set_arithmetic(config: Config) -> None:
    """What torch keeps for the whole process: TF32 and determinism."""
    torch.backends.cuda.matmul.allow_tf32 = config.tf32
    torch.backends.cudnn.allow_tf32 = config.tf32  # torch.export refuses to work beside the newer `fp32_precision`
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    torch.use_deterministic_algorithms(config.deterministic)


def _fast_precision(device: torch.device) -> str:
    """bf16 where the hardware multiplies it natively: elsewhere it is emulated and ten times slower (measured with AVX2
    alone).
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public question for this that its oldest supported version knows.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
