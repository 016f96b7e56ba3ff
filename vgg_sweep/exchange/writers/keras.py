"""A net as a Keras model, in `.keras`, and the paper's D and E as weights of `keras.applications`, in `.h5`.

Keras has N H W C and kernels H W C_in C_out; its Flatten before fc1 runs over H W C, ours over C H W.
"""

import os
import zipfile
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from vgg_sweep.errors import ConfigError
from vgg_sweep.exchange.names import BN_TENSORS, LRN_SUMS, to_keras
from vgg_sweep.exchange.tag import KEY, tag_text
from vgg_sweep.exchange.writers.program import PIXELS, POSTERIORS, SCORES, plain_layers, program
from vgg_sweep.exchange.writers.state_dicts import file_preprocessing, file_state, input_lines, paper_name
from vgg_sweep.nets import lrn
from vgg_sweep.nets.vgg import VGG, FullyConnected
from vgg_sweep.predict.trained import TrainedNet

os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras reads it when it is first imported; torch is here in any case

import h5py  # noqa: E402
import keras  # noqa: E402

_MOST_IN_ATTRIBUTE = 10_000
"""Characters of text; HDF5 allows an attribute 64 KiB."""


def save_keras(loaded: TrainedNet, path: Path) -> None:
    """Write a model of pixels_NHWC for `keras.models.load_model`, for any number of images of any size.

    Raises `ConfigError` for a net with shortcuts, strides or a mean over positions.
    """
    _refuse_beyond(loaded.net, "our Keras models have")
    net = program(loaded)
    pixels = keras.Input((None, None, 3), name=PIXELS)
    gain_C, offset_C = (tensor.flatten().tolist() for tensor in (net.gain_C11, net.offset_C11))
    outputs = keras.layers.Rescaling(gain_C, offset_C, name="input")(pixels)
    for name, layer in net.layers.named_children():
        outputs = _applied(layer, outputs, name)
    scores = keras.layers.Identity(name=SCORES)(outputs)
    mean_scores = keras.layers.GlobalAveragePooling2D(name="mean_scores")(scores)
    posteriors = keras.layers.Softmax(name=POSTERIORS)(mean_scores)
    keras.Model(pixels, [posteriors, scores], name="VGG").save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(KEY, tag_text(loaded, loaded.preprocessing))


def keras_example(loaded: TrainedNet, file: str) -> list[str]:
    """See `exporting.Format`."""
    return [
        "import keras",
        "",
        f"net = keras.models.load_model({file!r})",
        'posteriors_NK, scores_NhwK = net.predict(pixels_NCHW.transpose(0, 2, 3, 1).astype("float32"), verbose=0)',
    ]


def save_h5(loaded: TrainedNet, path: Path) -> None:
    """Write weights in the layout of `keras.applications`. Raises `ConfigError` for a net with other layers."""
    _refuse_beyond(loaded.net, "the .h5 of keras.applications has")
    for name, layer in plain_layers(loaded.net):
        if isinstance(layer, nn.LocalResponseNorm | nn.BatchNorm2d):
            raise ConfigError(f"the .h5 of keras.applications has no place for {name}; write a .keras file instead.")
    net, state = loaded.net, file_state(loaded)
    names = {module: to_keras(name) for module, name in net.layer_names.items() if f"{module}.weight" in state}
    with h5py.File(path, "w") as file:
        file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.0.0"  # the layout of kernels
        text = tag_text(loaded, file_preprocessing(loaded))
        for number, first in enumerate(range(0, len(text), _MOST_IN_ATTRIBUTE)):
            file.attrs[f"{KEY}{number:03}"] = text[first : first + _MOST_IN_ATTRIBUTE]
        file.attrs["layer_names"] = np.array([*names.values()], "S")
        for module, name in names.items():
            kernel = _h5_kernel(net.get_submodule(module), state[f"{module}.weight"])
            arrays = {f"{name}/kernel:0": kernel, f"{name}/bias:0": state[f"{module}.bias"]}
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([*arrays], "S")
            for key, tensor in arrays.items():
                group[key] = _array(tensor)


def _refuse_beyond(net: VGG, who_has: str) -> None:
    """Raise `ConfigError` for what is in none of the paper's columns nor in these with batch normalisation."""
    for layer in net.layers:
        if layer.kind in ("skip", "avgpool") or (layer.kind == "conv" and layer.stride > 1):
            raise ConfigError(f"{who_has} no place for {layer.name} ({layer.word}); export it to onnx or pt2.")


def _h5_kernel(module: nn.Module, weight: Tensor) -> Tensor:
    """[H, W, in, out] of a convolution, [H * W * in, out] of an FC layer."""
    if isinstance(module, FullyConnected):
        return weight.reshape(len(weight), -1, module.kernel, module.kernel).permute(2, 3, 1, 0).flatten(0, 2)
    return weight.permute(2, 3, 1, 0)


def h5_example(loaded: TrainedNet, file: str) -> list[str]:
    """See `exporting.Format`."""
    return [
        "import keras",
        "",
        *_h5_model(loaded),
        f"net.load_weights({file!r})",
        *input_lines(loaded),
        "posteriors_NK = net.predict(images_NCHW.transpose(0, 2, 3, 1), verbose=0)",
    ]


def _h5_model(loaded: TrainedNet) -> list[str]:
    """Lines that make the net as Keras itself would, without its weights."""
    net, crop = loaded.net, loaded.config.crop
    if (name := {"vgg16": "VGG16", "vgg19": "VGG19"}.get(paper_name(net) or "")) is not None:
        return [f"net = keras.applications.{name}(weights=None, classes={len(loaded.classes)})"]
    lines = ["L = keras.layers", "net = keras.Sequential([", f"    keras.Input(({crop}, {crop}, 3)),"]
    for layer in net.layers:
        match layer.kind:
            case "conv":
                lines.append(f'    L.Conv2D({layer.out_channels}, {layer.kernel}, padding="same", activation="relu"),')
            case "maxpool":
                lines.append("    L.MaxPooling2D(2),")
            case "fc":
                if layer.name == "fc6":
                    lines.append("    L.Flatten(),")
                activation = "softmax" if layer is net.layers[-1] else "relu"
                lines.append(f'    L.Dense({layer.out_channels}, activation="{activation}"),')
    return [*lines, "])"]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def _applied(layer: nn.Module, inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """The Keras twin of `layer`, with its weights, applied to `inputs`."""
    match layer:
        case nn.Conv2d():
            padding = "same" if layer.padding != (0, 0) else "valid"
            assert layer.bias is not None
            twin = keras.layers.Conv2D(layer.out_channels, layer.kernel_size, padding=padding, name=name)
            weights: list[Tensor] = [layer.weight.permute(2, 3, 1, 0), layer.bias]
        case nn.ReLU():
            twin, weights = keras.layers.ReLU(name=name), []
        case nn.MaxPool2d():
            padding = "same" if layer.ceil_mode else "valid"
            twin, weights = keras.layers.MaxPooling2D(layer.kernel_size, layer.stride, padding, name=name), []
        case nn.BatchNorm2d():
            twin = keras.layers.BatchNormalization(epsilon=layer.eps, name=name)
            state = layer.state_dict()
            weights = [state[key] for key in BN_TENSORS]
        case nn.LocalResponseNorm():
            return _lrn(inputs, name)
        case _:
            raise AssertionError(layer)
    outputs = twin(inputs)
    twin.set_weights([_array(tensor) for tensor in weights])
    return outputs


def _lrn(inputs: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """LRN, which Keras has not: its sums over channels are a fixed 1x1 convolution of the squares."""
    channels = inputs.shape[-1]
    squares = keras.layers.Multiply(name=f"{name}_squares")([inputs, inputs])
    sums = keras.layers.Conv2D(channels, 1, trainable=False, name=f"{name}{LRN_SUMS}")
    scales = sums(squares)
    distance_CC = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
    sums.set_weights([lrn.ALPHA * (distance_CC <= lrn.N // 2)[None, None], np.full(channels, lrn.K)])
    return keras.layers.Multiply(name=name)([inputs, keras.ops.power(scales, -lrn.BETA)])
