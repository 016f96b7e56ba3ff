"""Weights files of other programs to named tensors; a file's first bytes, not its name, say what it is.

Nothing in a file is ever run: of pickles only tensors and plain containers are read.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange.tag import KEY

_ZIP, _PICKLE, _HDF5, _ONNX = b"PK\x03\x04", b"\x80", b"\x89HDF\r\n\x1a\n", b"\x08"

_FOREIGN = {
    b"\x93NUMPY": "a NumPy array",
    b"MATLAB": "a MATLAB .mat file",
    b"\x03\x00\x00\x00\x01\x00\x00\x00": "a Lua Torch .t7 file",
    b"\x04\x00\x00\x00\x01\x00\x00\x00": "a Lua Torch .t7 file",
    b"version https://git-lfs": "a Git LFS pointer, which `git lfs pull` replaces by the file",
    b"<": "a web page, perhaps sent instead of the file",
}
"""First bytes of what people take for weights -> what it is."""
_TENSORFLOW_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_READ = (
    "import reads safetensors, PyTorch state dicts, Keras's .h5 and .keras, Caffe's .caffemodel, and what "
    "`vgg-sweep export` wrote"
)


@dataclass(frozen=True)
class Weights:
    """The tensors of a file."""

    format: str
    """state dict, caffemodel, Keras h5, or program (of our own exports)."""
    tensors: dict[str, Tensor]
    """Layouts are PyTorch's: kernels [out, in, height, width], FC weights [out, in] over C H W; names are the file's
    without what all have in front, those of Keras's and Caffe's VGG the paper's: conv1_1.weight, fc6.bias.
    """
    tag: str | None = None
    """Of an exported file: the text of its tag."""
    prefix: str = ""
    """What all names had in front, such as `module.`."""


def read_weights(path: Path, *, mirrored: bool | None, state_dict: str | None = None, trunk: bool = False) -> Weights:
    """The tensors of `path`, of any format that `_READ` names.

    `mirrored` says whether kernels are mirrored, if that is open; `state_dict` which one is meant where the file has
    several; `trunk` that the file may hold layers that no VGG has. Raises `RunError` if the file cannot be read as what
    it seems to be, `ConfigError` if a package for it is missing or `mirrored` or `state_dict` must be given.
    """
    with _sentence(path), open(path, "rb") as file:
        start = file.read(32)
        file.seek(max(0, path.stat().st_size - len(_TENSORFLOW_END)))
        end = file.read()
    if start[8:9] == b"{":
        with _sentence(path), safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            return _without_prefix("state dict", tensors, (opened.metadata() or {}).get(KEY))
    _refuse_foreign(path, start, end)
    inside = _names_in_zip(path) if start.startswith(_ZIP) else []
    if start.startswith(_HDF5) or "model.weights.h5" in inside:
        from vgg_sweep.exchange.readers import keras

        with _sentence(path):
            return Weights("Keras h5", *keras.read_keras(path, mirrored=mirrored, trunk=trunk))
    if start.startswith(_ONNX) or any(name.endswith("model_weights_config.json") for name in inside):
        with _sentence(path):
            return Weights("program", *read_program(path, is_onnx=not inside))
    if start.startswith((_ZIP, _PICKLE)):
        state = _state_dict(path, _unpickled(path), state_dict)
        return _without_prefix("state dict", state, getattr(state, "_metadata", {}).get(KEY))
    from vgg_sweep.exchange.readers import caffe

    return Weights("caffemodel", caffe.read_caffemodel(path))


def _refuse_foreign(path: Path, start: bytes, end: bytes) -> None:
    """Raise `RunError` for a known kind of file that is none of ours."""
    kinds = [kind for magic, kind in _FOREIGN.items() if start.startswith(magic)]
    if end == _TENSORFLOW_END:
        kinds.append("a TensorFlow checkpoint")
    if kinds:
        raise RunError(f"{path} is {kinds[0]}; {_READ}.")


def _names_in_zip(path: Path) -> list[str]:
    """The files in an archive, none if it is cut short. Raises `RunError` for arrays of NumPy."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return []
    if names and all(name.endswith(".npy") for name in names):
        raise RunError(f"{path} is a NumPy .npz file; {_READ}.")
    return names


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind, as half a pickle is any program
        if isinstance(error, pickle.UnpicklingError) and (wanted := re.search(r"GLOBAL (\S+)", str(error))):
            raise RunError(
                f"{path} is a pickle that would call {wanted[1]} when it is read, and no code in a file is ever run; "
                "save the state dict alone: torch.save(net.state_dict(), FILE)."
            ) from error
        raise RunError(
            f"{path} looks like a PyTorch file but cannot be read to its end; it may be truncated: download it again."
        ) from error


def _state_dict(path: Path, content: Any, asked: str | None) -> Mapping[str, Tensor]:
    """The state dict in `content`, which may be it or hold it among other things: the one called `asked` of several."""
    nets = dict(_state_dicts(content))
    if not nets:
        inside = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise RunError(f"{path} holds no state dict, but {inside}; save torch.save(net.state_dict(), FILE).")
    if asked is not None and asked not in nets:
        raise ConfigError(f"{path} holds no state dict {asked}; choose one of {', '.join(nets)}.")
    if asked is None and len(nets) > 1:
        raise ConfigError(
            f"{path} holds several nets; choose one with imported.state_dict=NAME, where NAME is one of "
            f"{', '.join(nets)}."
        )
    return nets[asked] if asked is not None else next(iter(nets.values()))


def _state_dicts(content: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every state dict in nested dictionaries, under its dotted name."""
    if isinstance(content, Mapping) and content:
        if all(isinstance(each, Tensor) for each in content.values()):
            yield name, content
        else:
            for key, value in content.items():
                yield from _state_dicts(value, f"{name}.{key}" if name else str(key))


def _without_prefix(format: str, tensors: Mapping[str, Tensor], tag: str | None) -> Weights:
    """Names without what wrappers put in front of all (`module.`, `_orig_mod.`, `model.`), or data parallelism inside.

    Nets begin with names such as `features`, never with a number: of files without the classifier these are kept.
    """
    if not tensors:
        raise RunError("the file holds no tensor; save torch.save(net.state_dict(), FILE).")
    parts = [name.split(".") for name in tensors]
    depth = 0
    while all(len(each) > depth + 2 and each[depth] == parts[0][depth] for each in parts):
        depth += 1
    while depth and parts[0][depth].isdigit():
        depth -= 1
    named = {
        ".".join(each[depth:]).replace(".module.", "."): tensor
        for each, tensor in zip(parts, tensors.values(), strict=True)
    }
    return Weights(format, named, tag, ".".join([*parts[0][:depth], ""]) if depth else "")


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """Turn the errors of files that are not there or not whole into a `RunError`."""
    try:
        yield
    except (OSError, KeyError, SafetensorError, zipfile.BadZipFile) as error:
        raise RunError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file {path}."
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{path} cannot be read ({error.strerror})."
    first_line = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return f"{path} cannot be read as weights ({first_line}); it may be truncated: download it again."


def read_program(path: Path, *, is_onnx: bool) -> tuple[dict[str, Tensor], str]:
    """The weights under the paper's names, conv1_1.weight and so on, and the file's tag; the first layer takes RGB.

    Raises `RunError` for a program that is not of `vgg-sweep export`, `ConfigError` if onnx is not installed.
    """
    arrays, tag = _read_onnx(path) if is_onnx else _read_pt2(path)
    if tag is None:
        raise RunError(
            f"{path} is a program that `vgg-sweep export` did not write, whose layers have unknown names; save the "
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
        raise RunError(f"{path} is not a complete .onnx file; it may be truncated: download it again.") from error
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
