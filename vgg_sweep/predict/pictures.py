"""What a net says of pictures in a notebook: files, folders, Pillow's images or arrays. Axes: N images, K classes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.errors import ConfigError
from vgg_sweep.machine.device import choose_device
from vgg_sweep.predict.predict import ProtocolName, find_images, predict_images, protocols
from vgg_sweep.predict.trained import Picture, TrainedNet, as_image

AT_ONCE = 32
"""So many images are held decoded."""


def predictions(loaded: TrainedNet, pictures: Sequence[Picture], protocol: str, top: int) -> pd.DataFrame:
    """As `TrainedNet.predict` gives them."""
    known = [name for name in get_args(ProtocolName) if name != "all"]
    if protocol not in known:
        raise ConfigError(f"there is no protocol '{protocol}' to predict by; choose from {', '.join(known)}.")
    named = list(_named(pictures))
    rows = []
    for first in range(0, len(named), AT_ONCE):
        some = named[first : first + AT_ONCE]
        posteriors_NK = _posteriors(loaded, [picture for _, picture in some], protocol)
        for (name, _), posteriors_K in zip(some, posteriors_NK, strict=True):
            for rank, k in enumerate(np.argsort(-posteriors_K, kind="stable")[:top], start=1):
                rows.append((name, rank, loaded.classes[k], float(posteriors_K[k])))
    return pd.DataFrame(rows, columns=["image", "rank", "answer", "posterior"])


def _named(pictures: Sequence[Picture]) -> Iterator[tuple[str | int, Picture]]:
    """Each picture with what it is called; those in a folder one by one."""
    for number, picture in enumerate(pictures):
        if isinstance(picture, str | Path):
            yield from ((str(path), path) for path in find_images([Path(picture)]))
        else:
            yield number, picture


def _posteriors(loaded: TrainedNet, pictures: Sequence[Picture], protocol: str) -> list[NDArray[np.float64]]:
    (wanted,) = protocols(loaded, protocol)  # type: ignore[arg-type]
    device = choose_device(replace(loaded.config, device="cpu", precision="fp32"))
    images = [as_image(picture, exif_rotation=loaded.config.data.exif_rotation) for picture in pictures]
    return predict_images(loaded, images, wanted, device)
