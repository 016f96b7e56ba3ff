"""Keras's .h5 in the layouts there are, written with h5py, Theano's too, against torch on the same kernels."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.exchange.test_importing import (  # noqa: F401
    CAFFE,
    PIXELS_NCHW,
    assert_same,
    imported,
    in_a_folder_of_its_own,
    oxfords,
    scores_of,
)
from tests.foreign import torchvision_net
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange.readers.files import read_weights

KERAS_NAMES = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def keras_layers(tensors: dict[str, Tensor], *, theano: bool = False) -> dict[str, list[np.ndarray]]:
    """Kernels and biases as Keras has them: [height, width, in, out], and dense ones over H W C, position by position;
    or as Theano has them, mirrored.
    """
    layers = {}
    for name in dict.fromkeys(key.partition(".")[0] for key in tensors):
        kernel, bias = (tensors[f"{name}.{key}"].numpy() for key in ("weight", "bias"))
        if kernel.ndim == 4:
            stage, place = name.removeprefix("conv").split("_")
            name = f"block{stage}_conv{place}"
            kernel = kernel[:, :, ::-1, ::-1] if theano else np.moveaxis(kernel, [2, 3, 1, 0], [0, 1, 2, 3])
        elif name == "fc6" and not theano:
            channels, side = 32, 2
            dense = np.empty((kernel.shape[1], kernel.shape[0]), np.float32)
            for c in range(channels):
                for y in range(side):
                    for x in range(side):
                        dense[(y * side + x) * channels + c] = kernel[:, (c * side + y) * side + x]
            kernel = dense
        else:
            kernel = kernel.T
        layers[KERAS_NAMES.get(name, name)] = [np.ascontiguousarray(kernel), bias]
    return layers


def write_keras_2(path: Path, layers: dict[str, list[np.ndarray]], group: str) -> None:
    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        names = ["input_1", *layers, "flatten"]
        root.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            inner = root.create_group(name)
            arrays = dict(zip(("kernel:0", "bias:0"), layers.get(name, []), strict=False))
            inner.attrs["weight_names"] = [f"{name}/{key}".encode() for key in arrays]
            for key, array in arrays.items():
                inner[f"{name}/{key}"] = array


def write_keras_3(path: Path, layers: dict[str, list[np.ndarray]]) -> None:
    with h5py.File(path, "w") as file:
        numbers = {"conv2d": 0, "dense": 0}
        for name, arrays in layers.items():
            kind = "conv2d" if arrays[0].ndim == 4 else "dense"
            number, numbers[kind] = numbers[kind], numbers[kind] + 1
            variables = file.create_group(f"layers/{kind}_{number}/vars" if number else f"layers/{kind}/vars")
            variables.attrs["name"] = name
            for place, array in enumerate(arrays):
                variables[str(place)] = array


@pytest.mark.parametrize("layout", ["weights", "model", "keras 3"])
def test_an_h5_gives_the_scores_of_the_net_it_was_written_from(layout: str) -> None:
    net = torchvision_net("D")
    layers = keras_layers(oxfords(net))
    match layout:
        case "weights":
            write_keras_2(Path("D.h5"), layers, "/")
        case "model":
            write_keras_2(Path("D.h5"), layers, "model_weights")
        case "keras 3":
            write_keras_3(Path("D.h5"), layers)
    folder = imported("D.h5", preprocessing=CAFFE)
    bgr_NCHW = PIXELS_NCHW.flip(1).float() - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    with torch.inference_mode():
        assert_same(scores_of(folder), net(bgr_NCHW))


def test_theanos_kernels_are_turned_when_told_so() -> None:
    tensors = oxfords(torchvision_net("D"))
    write_keras_2(Path("D.h5"), keras_layers(tensors, theano=True), "/")
    with pytest.raises(ConfigError, match="imported.mirrored=true .* or imported.mirrored=false"):
        read_weights(Path("D.h5"), mirrored=None)
    read = read_weights(Path("D.h5"), mirrored=True).tensors
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert not torch.equal(read_weights(Path("D.h5"), mirrored=False).tensors["conv1_1.weight"], read["conv1_1.weight"])


def test_what_is_no_whole_vgg_is_refused() -> None:
    write_keras_2(Path("D.h5"), keras_layers(oxfords(torchvision_net("D"))) | {"bn": [np.ones(4)] * 4}, "/")
    with pytest.raises(RunError, match=r"bn is neither a convolution nor a dense layer .* \[4\], \[4\]"):
        read_weights(Path("D.h5"), mirrored=None)
    Path("D.h5").write_bytes(Path("D.h5").read_bytes()[:-3000])
    with pytest.raises(RunError, match="D.h5 cannot be read as weights .*truncated"):
        read_weights(Path("D.h5"), mirrored=None)
