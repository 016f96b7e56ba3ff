"""Keras's files of weights, .h5 and .keras, of VGG16 and VGG19 as in keras.applications, and of our own exports.

Keras has kernels [height, width, in, out] and flattens H W C; Theano's files have kernels [out, in, height, width] and
flatten C H W, and their kernels are mirrored unless they were flipped for TensorFlow.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange.names import BN_TENSORS, LRN_SUMS, from_keras
from vgg_sweep.exchange.tag import KEY

try:
    import h5py
except ImportError as error:
    raise ConfigError("Keras's .h5 needs h5py; pip install 'vgg-sweep[keras]'.") from error

_PAPER_CONV = re.compile(r"(conv|bn)\d_\d")


def read_keras(path: Path, *, mirrored: bool | None, trunk: bool) -> tuple[dict[str, Tensor], str | None]:
    """The weights of each layer of `path` under the paper's names and in PyTorch's layouts, conv1_1.weight and so on;
    and the tag of an exported file.

    The first layer takes what it took: B, G, R in Keras's own files. `mirrored` must be given for Theano's files. Of a
    `trunk`'s file, layers that no VGG has are given as they are.
    Raises `ConfigError` where it is not, `RunError` for layers that are neither convolutions nor dense, `OSError` for
    what is no whole file.
    """
    source: Path | io.BytesIO = path
    tag = None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
            tag = archive.read(KEY).decode() if KEY in archive.namelist() else None
    with h5py.File(source) as file:
        layers = [(from_keras(name), arrays) for name, arrays in _layers(file) if arrays]
        if parts := sorted(name for name in file.attrs if name.startswith(KEY)):
            tag = "".join(_text(file.attrs[name]) for name in parts)
    layers = [each for each in layers if not each[0].endswith(LRN_SUMS)]
    foreign = [each for each in layers if trunk and not _PAPER_CONV.fullmatch(each[0])]
    tensors = _tensors(path, [each for each in layers if each not in foreign], mirrored)
    left = {f"{name}.{number}": array for name, arrays in foreign for number, array in enumerate(arrays)}
    return tensors | {name: torch.from_numpy(np.asarray(array)) for name, array in left.items()}, tag


def _tensors(path: Path, every: list[tuple[str, list[np.ndarray]]], mirrored: bool | None) -> dict[str, Tensor]:
    norms = [(name, arrays) for name, arrays in every if re.fullmatch(r"bn\d_\d+", name) and len(arrays) == 4]
    layers = [each for each in every if each not in norms]
    for name, arrays in layers:
        if [array.ndim for array in arrays] not in ([4, 1], [2, 1]):
            shapes = ", ".join(str(list(array.shape)) for array in arrays)
            raise RunError(f"{path}: {name} is neither a convolution nor a dense layer of VGG; it has {shapes}.")
    channels_last = all(array.shape[0] == array.shape[1] for _, (array, _) in layers if array.ndim == 4)
    if not channels_last and mirrored is None:
        raise ConfigError(
            f"{path} has Theano's layout, and its names and shapes do not tell whether the kernels are mirrored: "
            "give imported.mirrored=true (th_kernels) or imported.mirrored=false (tf_kernels)."
        )
    tensors = {
        f"{name}.{key}": torch.from_numpy(array)
        for name, arrays in norms
        for key, array in zip(BN_TENSORS, arrays, strict=True)
    }
    channels = 0
    for name, (kernel, bias) in sorted(layers, key=lambda layer: -layer[1][0].ndim):  # convolutions first
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
    if channels < 2:
        return weight
    side = round((weight.shape[1] / channels) ** 0.5)
    if side**2 * channels != weight.shape[1]:
        return weight
    return weight.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(len(weight), -1)


def _layers(file: Any) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Each layer with its arrays, in order, as Keras 1 and 2 (`layer_names`) or 3 (`layers`) wrote them; also those of
    a model that is a layer of another.
    """
    group = file.get("model_weights", file)
    if "layer_names" not in group.attrs:
        yield from _layers_of_3(group)
        return
    for outer in map(_text, group.attrs["layer_names"]):
        layers: dict[str, list[np.ndarray]] = {}
        for path in map(_text, group[outer].attrs["weight_names"]):
            name = path.split("/")[-2] if "/" in path else outer
            layers.setdefault(name, []).append(group[outer][path][()])
        yield from layers.items()


def _layers_of_3(model: Any) -> Iterator[tuple[str, list[np.ndarray]]]:
    """A model's layers lie in `layers`, or, where it is a class of its own, under the names of its attributes."""
    layers = model.get("layers", model)
    for name in sorted((name for name in layers if name != "vars"), key=_kind_and_number):
        if any(inner != "vars" for inner in layers[name]):
            yield from _layers_of_3(layers[name])
        variables = layers[name].get("vars", {})
        arrays = [variables[number][()] for number in sorted(variables, key=int)]
        yield _text(variables.attrs.get("name", name) if arrays else name), arrays


def _kind_and_number(name: str) -> tuple[str, int]:
    """conv2d_10 -> conv2d, 10: the order in a net whose dense layers come last."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if number.isdigit() else (name, 0)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
