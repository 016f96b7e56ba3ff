"""Posteriors of every protocol on the device against those of a CPU in fp32."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.nets import FIGURES, LAYOUTS_HERE, TYPES, TYPES_HERE, config, net_on
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.plan.passes import passes
from vgg_sweep.score.score import pass_posteriors


def posteriors(tmp_path: Path, device: torch.device | str, kind: str, layout: str) -> dict[str, np.ndarray]:
    of = config(tmp_path, device, kind, layout=layout, protocol="all")
    chosen = choose_hardware(of)
    chosen.expect_shapes(alike=False)
    net = net_on(chosen, of).eval()
    rng, preprocessing = np.random.default_rng(0), own_preprocessing(FIGURES, of.recipe.pixel_max)
    found = {}
    for each in passes(of):
        sizes = [(each.Q, each.Q), (each.Q, each.Q + 20), (each.Q + 9, each.Q), (each.Q, each.Q)]
        images_HWC = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
        found[each.name] = pass_posteriors(net, images_HWC, each, of.crop, preprocessing, chosen)
    return found


@pytest.mark.parametrize("layout", LAYOUTS_HERE)
@pytest.mark.parametrize("kind", TYPES_HERE)
def test_scores_are_those_of_a_cpu(tmp_path: Path, device: torch.device, kind: str, layout: str) -> None:
    expected, found = posteriors(tmp_path, "cpu", "fp32", "nchw"), posteriors(tmp_path, device, kind, layout)
    assert {name.split("-Q")[0] for name in found} == {"dense", "multi-crop", "ten-crop", "centre-crop"}
    atol = max(8 * 2.0 ** -TYPES[kind], 1e-5)
    for name, posteriors_NK in expected.items():
        np.testing.assert_allclose(found[name].sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(found[name], posteriors_NK, atol=atol, err_msg=name)
