"""A step of training in every type and layout against the same step in fp32 on a CPU."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.nets import LAYOUTS, LAYOUTS_HERE, TYPES, TYPES_HERE, batch, config, learner, losses, weights
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.augment import draw_epoch
from vgg_sweep.images.views.loader import Loader
from vgg_sweep.images.views.on_device import kept_on_device
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.progress import Reporter

OFF = {"fp32": 0.01, "tf32": 0.2, "bf16": 0.4, "fp16": 0.2}
"""How far a step may lie from that of fp32, as a share of it: what ReLU or a pool decides otherwise counts whole, so
that it is about the root of the type's unit. A wrong gradient is off by 1 or more.
"""


@pytest.mark.parametrize("layout", LAYOUTS_HERE)
@pytest.mark.parametrize("kind", TYPES_HERE)
def test_a_step_is_that_of_fp32_on_a_cpu(tmp_path: Path, device: torch.device, kind: str, layout: str) -> None:
    plain, other = learner(config(tmp_path, "cpu")), learner(config(tmp_path, device, kind, layout=layout))
    start = weights(plain)
    np.testing.assert_array_equal(weights(other), start)
    expected, found = losses(plain, 1, batch()), losses(other, 1, batch())
    np.testing.assert_allclose(found, expected, rtol=max(4 * 2.0 ** -TYPES[kind], 1e-5))
    step, other_step = weights(plain) - start, weights(other) - start
    assert np.linalg.norm(other_step - step) < OFF[kind] * np.linalg.norm(step)


@pytest.mark.parametrize("layout", LAYOUTS_HERE)
@pytest.mark.parametrize("kind", TYPES_HERE)
def test_every_type_learns_in_every_layout(tmp_path: Path, device: torch.device, kind: str, layout: str) -> None:
    made = learner(config(tmp_path, device, kind, layout=layout))
    found = losses(made, 40, batch())
    assert found[-1] < found[0] / 2 and np.isfinite(weights(made)).all()
    assert made.scaler.is_enabled() == (kind == "fp16")


def test_a_loss_scale_that_overflows_changes_no_weight_and_is_halved(tmp_path: Path, device: torch.device) -> None:
    made = learner(config(tmp_path, device, "fp16"))
    made.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**40)
    before = weights(made)
    made.step(batch(), 0)
    np.testing.assert_array_equal(weights(made), before)
    assert made.scaler.get_scale() == 2.0**39
    for step in range(1, 40):
        made.step(batch(), step)
    assert np.isfinite(weights(made)).all() and (weights(made) != before).any()


def test_micro_batches_give_the_step_of_the_whole_batch(tmp_path: Path, device: torch.device) -> None:
    whole, parts = learner(config(tmp_path, device)), learner(config(tmp_path, device, micro_batch=3))
    np.testing.assert_allclose(losses(parts, 3, batch()), losses(whole, 3, batch()), rtol=1e-4)
    np.testing.assert_allclose(weights(parts), weights(whole), atol=1e-4)


def test_tf32_rounds_factors_and_fp32_does_not(tmp_path: Path, cuda: torch.device) -> None:
    if torch.cuda.get_device_capability(cuda) < (8, 0):
        pytest.skip("TF32 came with compute capability 8.0")
    images_NCHW, kernels = torch.randn(4, 64, 32, 32), torch.randn(64, 64, 3, 3)
    exact = torch.nn.functional.conv2d(images_NCHW.double(), kernels.double())
    off = {}
    for kind in ("fp32", "tf32"):
        learner(config(tmp_path, cuda, kind))  # sets what the process uses
        found = torch.nn.functional.conv2d(images_NCHW.to(cuda), kernels.to(cuda)).cpu().double()
        off[kind] = ((found - exact).norm() / exact.norm()).item()
    assert off["fp32"] < 1e-5 < 1e-4 < off["tf32"] < 1e-2


def test_cudnn_searches_for_steps_and_not_for_scoring(tmp_path: Path, cuda: torch.device) -> None:
    made = learner(config(tmp_path, cuda))
    assert torch.backends.cudnn.benchmark
    searched = losses(made, 3, batch())
    plain = learner(config(tmp_path, cuda))
    plain.hardware.expect_shapes(alike=False)
    assert not torch.backends.cudnn.benchmark
    np.testing.assert_allclose(searched, losses(plain, 3, batch()), rtol=1e-4)


def test_a_compiled_net_takes_the_same_steps(
    tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.type == "cpu":  # without the C++ compiler, which takes over a minute
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, compiled = learner(config(tmp_path, device)), learner(config(tmp_path, device, compile=True))
    np.testing.assert_allclose(losses(compiled, 3, batch()), losses(plain, 3, batch()), rtol=1e-3)
    np.testing.assert_allclose(weights(compiled), weights(plain), atol=1e-3)
    assert list(compiled.net.state_dict()) == list(plain.net.state_dict())


def test_pinned_copies_that_are_not_waited_for_bring_the_same_images(tmp_path: Path, cuda: torch.device) -> None:
    """While the GPU is busy, so that a copy that came too late or too early would show."""
    plain, pinned = learner(config(tmp_path, cuda)), learner(config(tmp_path, cuda))
    busy = torch.randn(4096, 4096, device=cuda)
    for step in range(5):
        expected = plain.step(batch(), step)
        for _ in range(20):
            busy @ busy
        assert pinned.step(batch(pinned=True), step) == pytest.approx(expected, rel=1e-4)


def test_deterministic_steps_are_the_same_bits(tmp_path: Path, device: torch.device) -> None:
    made = [learner(config(tmp_path, device, "bf16", deterministic=True)) for _ in range(2)]
    assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    first, second = (losses(each, 5, batch()) for each in made)
    assert first == second
    np.testing.assert_array_equal(weights(made[0]), weights(made[1]))


def test_gradients_of_large_convolutions_do_not_depend_on_the_layout(tmp_path: Path, device: torch.device) -> None:
    """At 64 px, where other kernels are chosen than at 32."""
    found = {}
    for layout in LAYOUTS:
        made = learner(config(tmp_path, device, layout=layout, crop=64, width=1 / 8))
        found[layout] = losses(made, 2, batch(4, 64)), weights(made)
    np.testing.assert_allclose(found["nchw"][0], found["channels-last"][0], rtol=1e-4)
    np.testing.assert_allclose(found["nchw"][1], found["channels-last"][1], atol=1e-4)


def test_views_made_on_the_gpu_are_the_loaders(tmp_path: Path, cuda: torch.device) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 96, 160, 3), dtype=np.uint8)
    split = Split(list(map(str, range(200))), np.arange(200), lambda index: images[index])
    draws, loader = draw_epoch(200, (73, 146), 0, 0), Loader(96, 64, 2, 60)
    source = kept_on_device(loader, split, cuda, Reporter(RunFolder(tmp_path), live=False))
    assert source is not loader
    for one, other in zip(source.batches(split, draws, 0), loader.batches(split, draws, 0), strict=True):
        assert one.images_NCHW.device.type == "cuda" and torch.equal(one.images_NCHW.cpu(), other.images_NCHW)
