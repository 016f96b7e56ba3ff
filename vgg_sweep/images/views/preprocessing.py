"""What an image becomes before it enters a net: of nets trained here, and of imported ones."""

import json
from collections.abc import Mapping
from dataclasses import replace

import torch

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.config.schema import Config
from vgg_sweep.images.sets.statistics import Statistics


def own_preprocessing(statistics: Statistics, pixel_max: float) -> Preprocessing:
    """That of nets trained here: RGB, the training set's mean subtracted (Sect. 2.1)."""
    return Preprocessing(pixel_max=pixel_max, mean=[mean * pixel_max for mean in statistics.mean_rgb])


def of_trained(config: Config, metadata: Mapping[str, str]) -> Preprocessing:
    """That of RGB images for the run of `config`, by the `metadata` of its weights: what these say, as where a run has
    started from another; an imported net's own; or by the mean of the training set.
    """
    if "preprocessing" in metadata:
        return in_rgb(Preprocessing(**json.loads(metadata["preprocessing"])))
    if config.imported.sha256 is not None:
        return in_rgb(config.preprocessing)
    return own_preprocessing(Statistics(**json.loads(metadata["statistics"])), config.recipe.pixel_max)


def in_rgb(preprocessing: Preprocessing) -> Preprocessing:
    """The same for a net whose first layer has been put in the order R, G, B, as `import` does."""
    if preprocessing.channel_order == "RGB":
        return preprocessing
    mean, std = preprocessing.mean[::-1], preprocessing.std[::-1]
    return replace(preprocessing, channel_order="RGB", mean=mean, std=std)


def net_input(
    images_NCHW: torch.Tensor, preprocessing: Preprocessing, shift_NC: torch.Tensor | None = None
) -> torch.Tensor:
    """uint8 RGB pixels to the net's input: the mean RGB subtracted (Sect. 2.1), the colour shift, which is in [0, 1]
    units, added, in units of `pixel_max`, divided by the standard deviation.
    """
    pixel_max, std = preprocessing.pixel_max, preprocessing.std
    mean_C = torch.tensor([mean / pixel_max for mean in preprocessing.mean], device=images_NCHW.device)
    gain_C = torch.tensor([pixel_max / each for each in std], device=images_NCHW.device)
    offset_NC = -mean_C[None] if shift_NC is None else shift_NC - mean_C

    def along_row(colours_NC: torch.Tensor) -> torch.Tensor:  # torch would loop over the three of each pixel
        colours_NCHW = colours_NC[:, :, None, None].expand(-1, -1, 1, images_NCHW.shape[3])
        return colours_NCHW.contiguous(memory_format=torch.channels_last)

    return images_NCHW.float().div_(255).add_(along_row(offset_NC)).mul_(along_row(gain_C[None]))
