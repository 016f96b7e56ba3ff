"""What an image becomes before it enters a net: of nets trained here, and of imported ones."""

from dataclasses import replace

from vgg_sweep.config import Preprocessing
from vgg_sweep.images.statistics import Statistics


def own_preprocessing(statistics: Statistics, pixel_max: float) -> Preprocessing:
    """That of nets trained here: RGB, the training set's mean subtracted (Sect. 2.1)."""
    return Preprocessing(pixel_max=pixel_max, mean=[mean * pixel_max for mean in statistics.mean_rgb])


def in_rgb(preprocessing: Preprocessing) -> Preprocessing:
    """The same for a net whose first layer has been put in the order R, G, B, as `import` does."""
    if preprocessing.channel_order == "RGB":
        return preprocessing
    mean, std = preprocessing.mean[::-1], preprocessing.std[::-1]
    return replace(preprocessing, channel_order="RGB", mean=mean, std=std)
