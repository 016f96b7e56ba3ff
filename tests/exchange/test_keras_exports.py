"""Keras's .h5 by its own layout, and what Keras has no place for."""

from pathlib import Path

import numpy as np
import pytest

import vgg_sweep
from tests.exchange.exports import imported
from tests.tiny import random_run
from vgg_sweep.cli.card import export
from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError


@pytest.mark.parametrize(("model", "layer"), [("A-skip", "skip3_1"), ("plain-20", "conv2_1"), ("res-20", "skip1_1")])
@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_keras_has_no_place_for_shortcuts_and_strides(model, layer, ending, tmp_path):
    pytest.importorskip("keras")
    with pytest.raises(ConfigError, match=rf"have|has no place for {layer} \(.*; export it to onnx or pt2"):
        export(random_run(tmp_path, model), "keras", tmp_path / f"out.{ending}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.parametrize("model", ["D", "C"])
def test_keras_loads_the_h5_by_its_own_layout(model, tmp_path):
    h5py = pytest.importorskip("h5py")
    folder = random_run(tmp_path, model)
    exported = export(folder, "keras", tmp_path / "out.h5")
    state = vgg_sweep.load(folder.path).net.state_dict()
    with h5py.File(exported.file) as file:
        names = [str(name, "ascii") for name in file.attrs["layer_names"]]
        assert names[:3] == ["block1_conv1", "block1_conv2", "block2_conv1"]
        assert names[-3:] == ["fc1", "fc2", "predictions"]
        fc1 = file["fc1/fc1/kernel:0"][...]  # [h * w * c, out] of a 2x2 map
        conv = file["block2_conv1/block2_conv1/kernel:0"][...]
    own = state["classifier.0.weight"].numpy()
    channels = own.shape[1] // 4
    for h, w, c in np.ndindex(2, 2, channels):
        np.testing.assert_array_equal(fc1[(h * 2 + w) * channels + c], own[:, c * 4 + h * 2 + w])
    np.testing.assert_array_equal(conv[2, 0], state["features.5.weight"][:, :, 2, 0].T)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
def test_the_h5_has_no_place_for_lrn(tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(ConfigError, match=r"no place for norm1; write a \.keras file instead"):
        export(random_run(tmp_path, "A-LRN"), "keras", tmp_path / "out.h5")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
def test_so_does_an_h5(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    from tests.exchange.test_importing import oxfords
    from tests.exchange.test_keras import keras_layers, write_keras_2
    from tests.foreign import torchvision_net

    monkeypatch.chdir(tmp_path)
    write_keras_2(Path("in.h5"), keras_layers(oxfords(torchvision_net("D"))), "/")
    exported = export(imported("in.h5", preprocessing=load_option("preprocessing", "caffe")), "keras", Path("out.h5"))

    def datasets(path):
        found = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: found.update({name: item[...]} if isinstance(item, h5py.Dataset) else {})
            )
        return found

    ours, theirs = datasets(exported.file), datasets("in.h5")
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, name)
