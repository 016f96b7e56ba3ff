"""The device under test, and the checks that mean something on a GPU alone.

`make test-gpu` says `cuda` and fails without one. Elsewhere the same checks run on what is there: on a CPU those that
depend on CUDA are skipped.
"""

import os

import pytest
import torch

DEVICE = os.environ.get("VGG_SWEEP_GPU_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def device() -> torch.device:
    device = torch.device(DEVICE)
    torch.empty(0, device=device)  # no GPU, no driver: torch says which
    return device


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    if device.type != "cuda":
        pytest.skip("needs an NVIDIA GPU: make test-gpu")
    return device


@pytest.fixture(autouse=True)
def _settings_of_the_process():
    """What torch keeps for the whole process is put back."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before
