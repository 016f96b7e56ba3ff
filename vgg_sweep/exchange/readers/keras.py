"""Keras's .h5 files of weights, of VGG16 and VGG19 as in keras.applications.

Keras has kernels [height, width, in, out] and flattens H W C; Theano's files have kernels [out, in, height, width] and
flatten C H W, and their kernels lie mirrored unless they were turned for TensorFlow.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgg_sweep.errors import ConfigError, RunError

try:
    import h5py
except ImportError as error:
    raise ConfigError("Keras's .h5 needs h5py; pip install 'vgg-sweep[keras]'.") from error

_NAMES = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}


def read_h5(path: Path, *, mirrored: bool | None) -> dict[str, Tensor]:
    """The weights of each layer of `path` under the paper's names and in PyTorch's layouts: conv1_1.weight and so on.

    The first layer takes what it took: B, G, R in Keras's own files. `mirrored` must be given for Theano's files.
    Raises `ConfigError` where it is not, `RunError` for layers that are neither convolutions nor dense, `OSError` for
    what is no whole file.
    """
    with h5py.File(path) as file:
        layers = [(_paper_name(name), arrays) for name, arrays in _layers(file) if arrays]
    for name, arrays in layers:
        if [array.ndim for array in arrays] not in ([4, 1], [2, 1]):
            shapes = ", ".join(str(list(array.shape)) for array in arrays)
            raise RunError(f"{path}: {name} is neither a convolution nor a dense layer of VGG; it has {shapes}.")
    channels_last = all(array.shape[0] == array.shape[1] for _, (array, _) in layers if array.ndim == 4)
    if not channels_last and mirrored is None:
        raise ConfigError(
            f"{path} has Theano's layout, and its kernels may lie mirrored or not, which no name or shape tells: give "
            "imported.mirrored=true (th_kernels) or imported.mirrored=false (tf_kernels)."
        )
    tensors, channels = {}, 0
    for name, (kernel, bias) in layers:
        if kernel.ndim == 4:
            weight = kernel.transpose(3, 2, 0, 1) if channels_last else kernel
            weight = weight[:, :, ::-1, ::-1] if mirrored else weight
            channels = len(bias)
        else:
            weight = _over_chw(kernel.T, channels) if channels_last else kernel.T
            channels = 1  # behind the first dense layer there are no positions
        tensors[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(weight))
        tensors[f"{name}.bias"] = torch.from_numpy(bias)
    return tensors


def _over_chw(weight: np.ndarray, channels: int) -> np.ndarray:
    """[out, H * W * C] to [out, C * H * W] for a square map of so many channels."""
    side = round((weight.shape[1] / channels) ** 0.5)
    if channels == 1 or side**2 * channels != weight.shape[1]:
        return weight
    return weight.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(len(weight), -1)


def _layers(file: Any) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Each layer with its arrays, in order, as Keras 1 and 2 (`layer_names`) or 3 (`layers`) wrote them."""
    group = file.get("model_weights", file)
    if "layer_names" in group.attrs:
        for name in map(_text, group.attrs["layer_names"]):
            yield name, [group[name][_text(each)][()] for each in group[name].attrs["weight_names"]]
    else:
        for name in sorted(group["layers"], key=_kind_and_number):
            variables = group["layers"][name]["vars"]
            arrays = [variables[number][()] for number in sorted(variables, key=int)]
            yield _text(variables.attrs.get("name", name)), arrays


def _kind_and_number(name: str) -> tuple[str, int]:
    """conv2d_10 -> conv2d, 10: the order in a net whose dense layers come last."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if number.isdigit() else (name, 0)


def _paper_name(name: str) -> str:
    """block3_conv1 -> conv3_1, fc1 -> fc6, predictions -> fc8; any other as it is."""
    block = re.fullmatch(r"block(\d)_conv(\d)", name)
    return f"conv{block[1]}_{block[2]}" if block else _NAMES.get(name, name)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
