"""Programs of our own exports, .onnx and .pt2, as the weights in them; of the program itself nothing is run."""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange.tag import KEY


def read_program(path: Path, *, is_onnx: bool) -> tuple[dict[str, Tensor], str]:
    """The weights under the paper's names, conv1_1.weight and so on, and the file's tag; the first layer takes RGB.

    Raises `RunError` for a program that is not of `vgg-sweep export`, `ConfigError` if onnx is not installed.
    """
    arrays, tag = _read_onnx(path) if is_onnx else _read_pt2(path)
    if tag is None:
        raise RunError(
            f"{path} is a program that `vgg-sweep export` has not written, whose layers have no known names; save the "
            "net's state dict instead: torch.save(net.state_dict(), FILE)."
        )
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items() if "." in name}, tag


def _read_onnx(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("an .onnx needs onnx; pip install 'vgg-sweep[onnx]'.") from error
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise RunError(f"{path} is not a whole .onnx; it may be cut short: fetch it again.") from error
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return arrays, {entry.key: entry.value for entry in model.metadata_props}.get(KEY)


def _read_pt2(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """Weights lie in the archive as bytes, each a file; a table says of which name and shape they are."""
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].partition("/")[0]
        table = json.loads(archive.read(f"{top}/data/weights/model_weights_config.json"))["config"]
        arrays = {}
        for name, entry in table.items():
            shape = [side["as_int"] for side in entry["tensor_meta"]["sizes"]]
            if shape:
                floats = np.frombuffer(archive.read(f"{top}/data/weights/{entry['path_name']}"), "<f4")
                arrays[name.removeprefix("layers.")] = floats.reshape(shape)
        extra = f"{top}/extra/{KEY}"
        return arrays, archive.read(extra).decode() if extra in archive.namelist() else None
