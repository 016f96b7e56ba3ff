"""Files of weights as other programs write them, to named tensors; what a file is, its first bytes say, not its name.

Nothing in a file is ever run: of pickles only tensors and plain containers are read.
"""

import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vgg_sweep.errors import RunError

_ZIP, _PICKLE, _HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Weights:
    """The tensors of a file."""

    format: str
    """state dict, caffemodel or Keras h5."""
    tensors: dict[str, Tensor]
    """Layouts are PyTorch's: kernels [out, in, height, width], FC weights [out, in] over C H W; names are the file's,
    those of Keras's and Caffe's VGG the paper's: conv1_1.weight, fc6.bias.
    """


def read_weights(path: Path, *, mirrored: bool | None) -> Weights:
    """The tensors of `path`: safetensors, a pickled state dict, a .caffemodel or Keras's .h5.

    `mirrored` says whether kernels lie mirrored, where that is open. Raises `RunError` if the file cannot be read as
    what it seems to be, `ConfigError` if a package for it is missing or `mirrored` must be given.
    """
    with _sentence(path), open(path, "rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        with _sentence(path):
            return Weights("state dict", load_file(path))
    if start.startswith((_ZIP, _PICKLE)):
        return Weights("state dict", _without_wrappers(path, _unpickled(path)))
    if start.startswith(_HDF5):
        from vgg_sweep.exchange.readers import keras

        with _sentence(path):
            return Weights("Keras h5", keras.read_h5(path, mirrored=mirrored))
    from vgg_sweep.exchange.readers import caffe

    return Weights("caffemodel", caffe.read_caffemodel(path))


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise RunError(
                f"{path} is a pickle that would call {wanted[1]} when it is read, which we never let a file do; save "
                "the state dict by itself: torch.save(net.state_dict(), FILE)."
            ) from error
        raise RunError(_unreadable(path, error)) from error
    except Exception as error:  # of any kind, as half a pickle is any program
        raise RunError(_unreadable(path, error)) from error


def _without_wrappers(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict in `content`, itself or one of its values, without the `module.` of data-parallel training."""
    found = {"": content} | (dict(content) if isinstance(content, Mapping) else {})
    nets = {name: value for name, value in found.items() if _is_state_dict(value)}
    if not nets:
        inside = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise RunError(f"{path} holds no state dict, but {inside}; save torch.save(net.state_dict(), FILE).")
    if len(nets) > 1:
        raise RunError(f"{path} holds several nets, {', '.join(nets)}; save the one that you mean by itself.")
    (state,) = nets.values()
    return {re.sub(r"(^|\.)module\.", r"\1", name): tensor for name, tensor in state.items()}


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(isinstance(each, Tensor) for each in value.values())


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """Turn the errors of files that are not there or not whole into a `RunError`."""
    try:
        yield
    except (OSError, KeyError, SafetensorError) as error:
        raise RunError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file {path}."
    first_line = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return f"{path} cannot be read as weights ({first_line}); it may be cut short: fetch it again."
