"""What a run tells torch of the device it has."""

import ctypes
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_config
from vgg_sweep.errors import ConfigError
from vgg_sweep.machine.choices import Choice, ComputeMode
from vgg_sweep.machine.hardware import DTYPES, Hardware, choose_hardware


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was() -> object:
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = True


def hardware(precision: str, layout: str) -> Hardware:
    return Hardware(torch.device("cpu"), precision, "a CPU", layout)


def test_what_is_named_goes_before_what_was_chosen(tmp_path: Path) -> None:
    chosen = Choice(ComputeMode("bf16", "none", "nchw"), 5, {"bf16 nchw": 1.0})
    left_open = tiny_config(tmp_path, precision="auto", layout="auto")
    found = choose_hardware(left_open, chosen)
    assert (found.precision, found.layout, found.micro_batch) == ("bf16", "nchw", 5)
    assert found.chosen_from == {"bf16 nchw": 1.0}
    assert choose_hardware(replace(left_open, micro_batch=3), chosen).micro_batch == 3
    plain = choose_hardware(left_open)
    assert (plain.precision, plain.layout) == ("fp32", "channels-last")


@pytest.mark.parametrize(
    ("layout", "memory_format"), [("nchw", torch.contiguous_format), ("channels-last", torch.channels_last)]
)
def test_images_are_laid_out_as_the_net_is(layout: str, memory_format: torch.memory_format) -> None:
    images_NCHW = torch.randn(2, 3, 5, 7)
    for given in (images_NCHW, images_NCHW.contiguous(memory_format=torch.channels_last)):
        laid_out = hardware("fp32", layout).laid_out(given)
        assert laid_out.is_contiguous(memory_format=memory_format) and torch.equal(laid_out, images_NCHW)


@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_tries_its_algorithms_where_shapes_are_alike_and_bits_may_differ(
    tmp_path: Path, deterministic: bool
) -> None:
    chosen = choose_hardware(tiny_config(tmp_path, deterministic=deterministic))
    chosen.expect_shapes(alike=True)
    assert torch.backends.cudnn.benchmark is not deterministic
    chosen.expect_shapes(alike=False)
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_as_asked_for_and_a_net_can_still_be_exported(tmp_path: Path, tf32: bool) -> None:
    choose_hardware(tiny_config(tmp_path, tf32=tf32))
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32
    torch.export.export(torch.nn.Conv2d(3, 2, 3), (torch.ones(1, 3, 5, 5),))


PAGES_ASKED_FOR = """
import resource, torch
from vgg_sweep.machine.choices import Choice, ComputeMode
from vgg_sweep.machine.hardware import Hardware

LARGE, SMALL = 9 * 2**20, 2**21  # floats, 36 and 8 MiB: the first is more than the C library ever keeps by itself

def pages_asked_for(num_floats: int, num_before: int) -> int:
    for _ in range(num_before):
        torch.ones(num_floats)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(num_floats)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

hardware = Hardware(torch.device("cpu"), "fp32", "a CPU", "nchw")
print(pages_asked_for(LARGE, 1))
hardware.expect_shapes(alike=False)
print(pages_asked_for(LARGE, 1), pages_asked_for(SMALL, 20))  # the first kept are free a few bytes too short
hardware.expect_shapes(alike=True)
print(pages_asked_for(LARGE, 20), pages_asked_for(SMALL, 20))
"""


def test_memory_is_asked_for_once_where_shapes_are_alike_or_small() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    # A process of its own: in this one, earlier tests have left memory free.
    counts = map(int, subprocess.check_output([sys.executable, "-c", PAGES_ASKED_FOR], text=True).split())
    large, large_in_scoring, small_in_scoring, *in_training = counts
    assert large > 4 * 36 * 2**20 / resource.getpagesize() / 600  # pages may be huge ones of 2 MiB
    assert large_in_scoring > large / 2
    assert max(small_in_scoring, *in_training) < large / 8 / 4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_products_are_computed_in_the_precision_asked_for(tmp_path: Path, precision: str) -> None:
    chosen = choose_hardware(tiny_config(tmp_path, precision=precision))
    with chosen.autocast():
        product = torch.ones(4, 4) @ torch.ones(4, 4)
    assert product.dtype == DTYPES[precision] == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


@pytest.mark.parametrize(
    ("settings", "all_products", "convolutions"),
    [
        ({"precision": "auto"}, False, True),  # as torch does it by default
        ({"precision": "fp32"}, False, False),
        ({"precision": "auto", "tf32": True}, True, True),
    ],
)
def test_a_gpu_rounds_no_less_than_torch_does_unless_fp32_is_asked_for(
    tmp_path: Path, settings: dict[str, object], all_products: bool, convolutions: bool
) -> None:
    choose_hardware(tiny_config(tmp_path, **settings))
    assert torch.backends.cuda.matmul.allow_tf32 is all_products
    assert torch.backends.cudnn.allow_tf32 is convolutions


def test_a_device_that_is_not_here_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device=cuda:7 is not available here"):
        choose_hardware(tiny_config(tmp_path, device="cuda:7"))
