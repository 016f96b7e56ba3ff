"""Exported programs, onnx, keras and pt2, against the net."""

import numpy as np
import pytest

from tests.exchange.exports import CLOSE, NETS, PROGRAMS, SIZES, SLOW, ours, pixels
from tests.tiny import CLASSES, random_run
from vgg_sweep.cli.card import export

ONE_FC = {"res-20": ("res-20", {"width": 1 / 4, "crop": 64})}
"""Not imported again, since its size cannot be told from its tensors."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize(
    ("to", "net"),
    [
        *((to, net) for to in PROGRAMS for net in SLOW.get(to, NETS)),
        ("onnx", "res-20"),
        ("pt2", "A-BN with 1x1 shortcuts"),
    ],
)
def test_a_program_sees_pixels_of_any_size_as_the_net_does(to, net, tmp_path):
    pytest.importorskip({"onnx": "onnx"}.get(to, "torch"))
    model, settings = (NETS | ONE_FC)[net]
    folder = random_run(tmp_path, model, **settings)
    file = export(folder, to, tmp_path).file
    for size in SIZES:
        pixels_NCHW = pixels(*size)
        posteriors_NK, scores_NKhw, _ = ours(folder, pixels_NCHW)
        theirs_NK, theirs_NKhw = PROGRAMS[to](str(file), pixels_NCHW)
        assert theirs_NKhw.shape == scores_NKhw.shape
        np.testing.assert_allclose(theirs_NK, posteriors_NK, **CLOSE)
        np.testing.assert_allclose(theirs_NKhw, scores_NKhw, rtol=1e-4, atol=1e-5)
    assert posteriors_NK.std() > 0.01  # the classes are told apart


def test_class_names_travel_with_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    exported = export(random_run(tmp_path), "onnx", tmp_path)
    model = onnx.load(exported.file)
    assert {entry.key: entry.value for entry in model.metadata_props}["classes"] == str(CLASSES).replace("'", '"')
    assert [node.name for node in model.graph.node[:5]] == ["gain", "offset", "conv1_1", "relu1_1", "conv1_2"]
