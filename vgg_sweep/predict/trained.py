"""A trained net with all it needs in use: weights, preprocessing, class names.

Axes: N images, C channels, H W pixels, K classes, h w positions of a layer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vgg_sweep.config.checks import read_config
from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.decode import BadImage, decoded
from vgg_sweep.images.views.crops import rescaled
from vgg_sweep.images.views.preprocessing import net_input, of_trained
from vgg_sweep.nets.activations import activations, check_layer
from vgg_sweep.nets.vgg import VGG, build_net, posteriors
from vgg_sweep.nets.weights import load_weights, read_metadata
from vgg_sweep.plan.commands import command
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.protocols.seals import damaged
from vgg_sweep.runs.files import read_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.runs.naming import find_run

if TYPE_CHECKING:
    import pandas as pd

Picture = Image.Image | np.ndarray | str | Path
"""An image as users have it: Pillow's, RGB [H, W, 3] in uint8, or a file."""

CONFIG_KEY = "config"
"""Of the metadata of an exported file: the configuration of its run, as YAML."""


@dataclass(frozen=True, repr=False)
class TrainedNet:
    """A net ready for use: on the CPU, in eval mode, fully convolutional."""

    net: VGG
    config: Config
    """Of the run that made it."""
    preprocessing: Preprocessing
    """Of RGB images, whatever the order of a file that was imported."""
    classes: list[str]
    """In the order of the net's scores."""
    metadata: dict[str, str]
    """Of the weights' file."""

    def __repr__(self) -> str:
        name, classes = f"{self.config.model.name}-{self.config.train_scale.name}", len(self.classes)
        return f"<{name}, seed {self.config.seed}: {classes:,} classes, Q = {self.test_scale_px} px>"

    def predict(self, images: Picture | Sequence[Picture], protocol: str = "single", top: int = 1) -> "pd.DataFrame":
        """The `top` classes of each image: `image` (its path, or its number), `rank` from 1, `answer`, `posterior`.

        Images are files, folders of them, Pillow's or arrays; `protocol` is single, multi, centre or crops. They are
        classified on the CPU. Raises `RunError` for one that cannot be read, `ConfigError` for what is not known.
        """
        from vgg_sweep.predict.predict import predictions  # which needs this module

        return predictions(self, [images] if isinstance(images, Picture) else list(images), protocol, top)

    @property
    def test_scale_px(self) -> int:
        """Q of Table 3, in pixels at the net's crop: S, or the middle of a jittered range (Sect. 4.1)."""
        return test_scales(self.config.train_scale.S, "single", self.config.crop)[0]

    def input(self, image: Picture, Q_px: int | None = None) -> Tensor:
        """The net's input, images_1CHW, for an image rescaled to smallest side `Q_px` (default: `test_scale_px`)."""
        rgb = as_image(image, exif_rotation=self.config.data.exif_rotation)
        pixels_HWC = rescaled(rgb, Q_px or self.test_scale_px, self.preprocessing.interpolation)
        return net_input(torch.tensor(pixels_HWC).permute(2, 0, 1)[None], self.preprocessing)

    def posteriors(self, pixels_NCHW: np.ndarray) -> Tensor:
        """Class posteriors_NK of RGB images in uint8 by dense evaluation at their own size, unflipped (Sect. 3.2)."""
        with torch.no_grad():
            return posteriors(self.net(net_input(torch.tensor(pixels_NCHW), self.preprocessing)))

    def features(
        self,
        images: Picture | Sequence[Picture],
        layer: str = "fc7",
        Q_px: int | None = None,
        *,
        before_relu: bool = False,
    ) -> list[Tensor]:
        """The activations_Chw of a layer, such as conv5_3 or fc7, for each image, rescaled to smallest side `Q_px`.

        The images may have different sizes, and then so have their activations. What is computed and what is refused:
        see `nets.activations`. Dense descriptors as in Appendix B are their mean over h and w.
        """
        several = [images] if isinstance(images, Picture) else images
        return [activations(self.net, self.input(image, Q_px), layer, before_relu=before_relu)[0] for image in several]


def load(run_or_file: str | Path) -> TrainedNet:
    """The trained net of a run, named as in `runs.naming.find_run`, or of a file that `vgg-sweep export --to
    safetensors` wrote.

    Raises `ConfigError` if there is nothing of the kind or it is not trained, `RunError` if it cannot be read.
    """
    path = Path(run_or_file)
    if path.is_file() and not RunFolder(path.parent).config.exists():
        if (text := read_metadata(path).get(CONFIG_KEY)) is None:
            raise ConfigError(f"{path} does not say what net it is; `vgg-sweep import {path}` makes a run of it.")
        return _load(path, read_config(path, "export the net again", text))
    folder = find_run(str(run_or_file))
    config = _config_of(folder)
    _check_weights(folder)
    return _load(folder.weights, config)


def check_layers(folder: RunFolder, layers: Sequence[str]) -> None:
    """Raise `ConfigError` if the run is not trained, or for a layer that its net has not; the weights are not read."""
    config = _config_of(folder)
    with torch.device("meta"):
        net = build_net(config, len(json.loads(read_metadata(folder.weights)["classes"])))
    for layer in layers:
        check_layer(net, layer)


def _config_of(folder: RunFolder) -> Config:
    """Raises `ConfigError` if the run is not trained."""
    if not folder.is_trained:
        raise ConfigError(f"{folder.path} holds no finished net; `vgg-sweep status` says how far its sweep is.")
    return read_config(folder.config, "put back a copy of it; the weights beside it are not touched")


def _check_weights(folder: RunFolder) -> None:
    """Raise `RunError` if the weights are not those that were trained and scored."""
    there = folder.weights_fingerprint()
    if read_json(folder.posteriors / "manifest.json").get("weights_fingerprint", there) != there:
        redo = f"train its run again; if it was replaced, `{command('score', str(folder.path))}` scores it again."
        raise damaged(folder.weights, "its sha256 is not that in posteriors/manifest.json", redo)


def _load(weights: Path, config: Config) -> TrainedNet:
    metadata = read_metadata(weights)
    classes = json.loads(metadata["classes"])
    net = build_net(config, len(classes))
    load_weights(net, weights)
    return TrainedNet(net.eval(), config, of_trained(config, metadata), classes, metadata)


def as_image(picture: Picture, *, exif_rotation: bool) -> Image.Image:
    """RGB, at its own size; a file is set upright if `exif_rotation`, as in training.

    Raises `RunError` naming a file that cannot be read, `ConfigError` for an array that is no image.
    """
    match picture:
        case Image.Image():
            return picture.convert("RGB")
        case np.ndarray(dtype=np.uint8, shape=(_, _) | (_, _, 3 | 4)):
            return Image.fromarray(picture).convert("RGB")
        case np.ndarray(dtype=kind, shape=shape):
            raise ConfigError(f"an array of {kind} {list(shape)} is no image; give uint8 [H, W, 3], or grey [H, W].")
    try:
        return decoded(Path(picture), exif_rotation=exif_rotation)
    except (BadImage, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{picture} cannot be read as an image ({reason}).") from error
