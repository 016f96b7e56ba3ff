"""Real want of memory: a tensor fills the GPU but for half of what the work would take."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.nets import FIGURES, batch, config, learner, losses, net_on, weights
from tests.tiny import RECIPE
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.protocols.passes import Pass
from vgg_sweep.score.score import pass_posteriors


@contextmanager
def all_but(num_bytes: int, cuda: torch.device) -> Iterator[None]:
    """Leave `num_bytes` of the GPU's memory, beyond what is held already."""
    torch.cuda.synchronize(cuda)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(cuda)
    if free < 2 * num_bytes:
        pytest.skip(f"{free / 1e9:.1f} GB of the GPU are free, too few for this check: is it in use?")
    ballast = torch.empty(free - num_bytes, dtype=torch.uint8, device=cuda)
    try:
        yield
    finally:
        del ballast
        torch.cuda.empty_cache()


def most_reserved(cuda: torch.device) -> int:
    """Bytes at the peak since the last call, beyond what was held then."""
    peak, now = torch.cuda.max_memory_reserved(cuda), torch.cuda.memory_allocated(cuda)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(cuda)
    return peak - now


def large(tmp_path: Path, cuda: torch.device) -> Config:
    recipe = replace(RECIPE, batch_size=64, lr=0.001)
    return config(tmp_path, cuda, model="D", warm_start="none", crop=224, width=1 / 4, recipe=recipe)


def test_training_goes_on_with_fewer_images_at_a_time(tmp_path: Path, cuda: torch.device) -> None:
    of, images = large(tmp_path, cuda), batch(64, 224)
    plain = learner(of)
    plain.hardware.expect_shapes(alike=False)  # a search would try algorithms of any size
    most_reserved(cuda)
    expected = losses(plain, 2, images)
    taken = most_reserved(cuda)
    expected_weights = weights(plain)
    del plain
    notes: list[str] = []
    tight = learner(of, notes)
    tight.hardware.expect_shapes(alike=False)
    with all_but(taken // 2, cuda):
        found = losses(tight, 2, images)
    assert notes and "out of memory: continuing with 32 images at a time, with the same result" in notes[0]
    assert tight.micro_batch <= 32
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(weights(tight), expected_weights, atol=1e-4)


def test_training_without_room_for_an_image_says_so(tmp_path: Path, cuda: torch.device) -> None:
    tight = learner(large(tmp_path, cuda))
    with all_but(32 * 2**20, cuda), pytest.raises(RunError, match="there is too little memory for one image"):
        tight.step(batch(64, 224), 0)
    assert tight.step(batch(2, 224), 0)[0] > 0  # and nothing is broken


def test_scoring_goes_on_with_fewer_views_at_a_time(tmp_path: Path, cuda: torch.device) -> None:
    of = large(tmp_path, cuda)
    hardware = choose_hardware(of)
    hardware.expect_shapes(alike=False)
    net = net_on(hardware, of).eval()
    rng = np.random.default_rng(0)
    images_HWC = [rng.integers(0, 256, (256, 341, 3), np.uint8) for _ in range(200)]

    def posteriors() -> np.ndarray:
        preprocessing = own_preprocessing(FIGURES, of.recipe.pixel_max)
        return pass_posteriors(net, images_HWC, Pass("dense", 256, True), of.crop, preprocessing, hardware)

    most_reserved(cuda)
    expected = posteriors()
    taken = most_reserved(cuda)
    with all_but(taken // 2, cuda):
        found = posteriors()
        assert most_reserved(cuda) < taken
    np.testing.assert_allclose(found, expected, atol=1e-5)
