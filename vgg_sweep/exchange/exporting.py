"""Trained nets in the formats of other libraries: each is written, read again by that library, and compared with ours
before the file is kept.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.exchange.names import TIMM, TORCHVISION
from vgg_sweep.exchange.tag import tag_values
from vgg_sweep.nets.weights import save_weights
from vgg_sweep.predict.trained import TrainedNet, load
from vgg_sweep.protocols.seals import sha256_of
from vgg_sweep.runs.files import atomic_path
from vgg_sweep.runs.folder import RunFolder

To = Literal["torchvision", "timm", "safetensors", "onnx", "keras", "pt2"]

TOLERANCE = 1e-5
"""How far log-posteriors of the exported net may be from ours, as `_difference` measures it."""
SMALLEST = 1e-30
"""Posteriors below this are as good as 0."""


@dataclass(frozen=True)
class Format:
    """A file format and its library."""

    ending: str
    save: Callable[[TrainedNet, Path], None]
    example: Callable[[TrainedNet, str], list[str]]
    """Lines of code that make posteriors_NK of pixels_NCHW (uint8, RGB) with the file of that name. The card shows
    them, and the export runs them.
    """
    sees_larger: bool = True
    """Whether the library evaluates images larger than the crop densely, as we do."""


@dataclass(frozen=True)
class Exported:
    """An exported file, as its model card describes it."""

    file: Path
    """Where it goes."""
    num_bytes: int
    sha256: str
    to: str
    example: list[str]
    """Lines of code that make posteriors_NK of pixels_NCHW."""
    sees_larger: bool
    difference: float
    """Of the file in its library from ours, as `_difference` measures it."""

    @property
    def card(self) -> Path:
        """Where its model card goes."""
        return self.file.with_name(f"{self.file.name}.md")


@contextmanager
def exported(folder: RunFolder, to: To, out: Path | None = None, *, force: bool = False) -> Iterator[Exported]:
    """Write the net of `folder` for another library to `out`, a file or a folder (default: the current one). The file
    is there after the block, if that ends well.

    Raises `ConfigError` if the file is there and not `force`, the library is not installed, or it has no such net, for
    a trunk;
    `RunError` if the exported net does not agree with ours.
    """
    path = out or Path()
    format = _format(to, path)
    if path.is_dir():
        path = path / f"{folder.id}{format.ending}"
    if path.exists() and not force:
        raise ConfigError(f"{path} already exists; give --force to overwrite it, or another --out.")
    if to == "keras" and (path.suffix not in (".keras", ".h5") or path.name.endswith(".weights.h5")):
        raise ConfigError(f"--out {path}: Keras goes by a file's extension; use .keras or .h5, not .weights.h5.")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is not a folder; make it first, or give another --out.")
    loaded = load(folder.path)
    if not loaded.classes:
        raise ConfigError(
            f"{folder.id} is a trunk, without FC layers, and has no posteriors to compare an export by; use its "
            f"{folder.weights.name}, in torchvision's names and shapes."
        )
    if loaded.config.task == "localise":
        raise ConfigError(
            f"{folder.id} predicts boxes, which other libraries have no place for; use its {folder.weights.name}, or "
            "export the run that it was made from."
        )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as room:
        temporary = Path(room) / path.name  # libraries look at a file's ending
        format.save(loaded, temporary)
        difference = _difference(loaded, format, temporary)
        if not difference <= TOLERANCE:
            raise RunError(
                f"{folder.id} as {to} gives other posteriors than ours (log-posteriors differ by {difference:.1e}, "
                f"more than {TOLERANCE:.0e}); nothing was written."
            )
        yield Exported(
            file=path,
            num_bytes=temporary.stat().st_size,
            sha256=sha256_of(temporary),
            to=to,
            example=format.example(loaded, path.name),
            sees_larger=format.sees_larger,
            difference=difference,
        )
        with atomic_path(path) as whole:
            os.replace(temporary, whole)


def _format(to: To, path: Path) -> Format:
    """Raises `ConfigError` if the library is not installed."""
    from vgg_sweep.exchange.writers import program, state_dicts

    try:
        match to:
            case "torchvision" | "timm":
                import_module(to)
                scheme = TIMM if to == "timm" else TORCHVISION
                save = partial(state_dicts.save_state_dict, scheme=scheme)
                example = partial(state_dicts.state_dict_example, scheme=scheme)
                return Format(f".{to}.pth", save, example, sees_larger=to == "timm")
            case "safetensors":
                return Format(".safetensors", save_safetensors, safetensors_example)
            case "pt2":
                return Format(".pt2", program.save_pt2, program.pt2_example)
            case "onnx":
                import onnxruntime as onnxruntime

                from vgg_sweep.exchange.writers import onnx

                return Format(".onnx", onnx.save_onnx, onnx.onnx_example)
            case "keras":
                from vgg_sweep.exchange.writers import keras

                if path.suffix == ".h5":
                    return Format(".h5", keras.save_h5, keras.h5_example, sees_larger=False)
                return Format(".keras", keras.save_keras, keras.keras_example)
    except ImportError as error:
        raise ConfigError(
            f"--to {to} needs a package that is not installed ({error}); pip install 'vgg-sweep[{to}]'."
        ) from error


def save_safetensors(loaded: TrainedNet, path: Path) -> None:
    """Write the weights with all that `vgg_sweep.load` needs in the file's metadata."""
    save_weights(loaded.net, path, tag_values(loaded, loaded.preprocessing))


def safetensors_example(loaded: TrainedNet, file: str) -> list[str]:
    """See `Format`."""
    return [
        "import vgg_sweep",
        "",
        f"loaded = vgg_sweep.load({file!r})",
        "posteriors_NK = loaded.posteriors(pixels_NCHW)",
    ]


def _difference(loaded: TrainedNet, format: Format, path: Path) -> float:
    """The largest difference of log-posteriors, relative to the largest of them if that is above 1, on noise: two crops
    and, where the library can, a larger image. Posteriors themselves would hide much where one is near 1.
    """
    crop, generator = loaded.config.crop, np.random.default_rng(0)
    shapes = [(2, 3, crop, crop)] + ([(1, 3, crop + 64, crop + 33)] if format.sees_larger else [])
    code = compile("\n".join(format.example(loaded, str(path))), str(path), "exec")
    differences = []
    for shape in shapes:
        pixels_NCHW = generator.integers(0, 256, shape, np.uint8)
        variables: dict[str, Any] = {"np": np, "pixels_NCHW": pixels_NCHW}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a library's deprecations are not the net's
            exec(code, variables)
        theirs_NK = _log(variables["posteriors_NK"])
        ours_NK = _log(loaded.posteriors(pixels_NCHW))
        difference_NK = np.where(np.isnan(ours_NK) & np.isnan(theirs_NK), 0, np.abs(ours_NK - theirs_NK))
        differences.append(difference_NK.max() / max(1, np.abs(ours_NK).max()))
    return float(np.max(differences))


def _log(posteriors_NK: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.log(np.maximum(np.asarray(posteriors_NK, np.float64), SMALLEST))
