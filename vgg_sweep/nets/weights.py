"""Weight files: safetensors with torchvision's names and shapes, which are also those of the state dict of `VGG`."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vgg_sweep.errors import RunError
from vgg_sweep.nets.initial import copy_all
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.protocols.seals import sha256_of
from vgg_sweep.runs.files import atomic_path

METADATA_KEY = "vgg_sweep"
"""All metadata is one JSON text: safetensors writes several keys in random order, and equal nets give equal files."""


def save_weights(
    net: VGG, path: Path, metadata: Mapping[str, str], on_written: Callable[[str], None] = lambda sha256: None
) -> None:
    """Write the net to `path`, whole or not at all. Equal weights and metadata give equal bytes.

    `torchvision.models.vgg16().load_state_dict` takes D's tensors as they are (vgg11 A's, vgg13 B's, vgg19 E's).
    `on_written` is called with the file's SHA-256 before the file is at `path`.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)})
        on_written(sha256_of(temporary))


def load_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a weight file. Raises `RunError` if it cannot be read."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def load_weights(net: VGG, path: Path) -> dict[str, str]:
    """Set all weights of `net` from `path`; returns the file's metadata, empty if this program did not write it.

    Raises `RunError` if the file cannot be read or if a tensor is missing, left over, or of another shape; `net` then
    stays as it was.
    """
    state = load_state(path)
    try:
        copy_all(net, state)
    except RunError as error:
        raise RunError(f"{path} does not fit the net. {error}") from error
    return read_metadata(path)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weight file, empty if this program did not write it. Raises `RunError` if it cannot be read."""
    with _opened(path) as file:
        return dict(json.loads((file.metadata() or {}).get(METADATA_KEY, "{}")))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} cannot be read as weights ({error}); train the net again or give another file."
        ) from error
